"""A process before thousands of connections that ask nothing, are slow, or do not read: `make test-server`.

The file is not named test_*, so that only a command which names it runs it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

RUN = "from shortlist.cli import main; main()"
IDLE = 10_000
HEAD = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@contextmanager
def server(bundle: Path, files: int, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that may have so many open files."""
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files})); "
    command = [sys.executable, "-c", limit + RUN, "serve", str(bundle), "--port", "0", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield process, json.loads(process.stderr.readline())["url"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        said = process.stderr.read()
        assert "fault" not in said and "Traceback" not in said, said
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()


def healthy(url: str, times: int = 50) -> float:
    """The longest of several answers, in seconds, each over a connection of its own."""
    longest = 0.0
    for _ in range(times):
        began = time.perf_counter()
        assert httpx.get(f"{url}/health/live", timeout=10).status_code == 200
        longest = max(longest, time.perf_counter() - began)
    assert httpx.post(f"{url}/v1/recommend", json={"user_id": "1"}, timeout=10).status_code == 200
    return longest


def opened(stack: ExitStack, port: int, num: int, sent: bytes = b"") -> list[socket.socket]:
    made = []
    for _ in range(num):
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        if sent:
            client.sendall(sent)
        made.append(client)
    return made


def let_in(process: int, num: int) -> None:
    """Wait until a server has so many files open: who is not let in yet takes room at the door, where there
    is none left a client knocks a second time, a second later."""
    end = time.monotonic() + 60
    while len(os.listdir(f"/proc/{process}/fd")) < num:
        assert time.monotonic() < end, "they are not let in"
        time.sleep(0.05)


def resident(process: int) -> float:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.fixture(autouse=True)
def files() -> int:
    """As many open files as can be had: the connections of both ends count."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE + 500 if hard == resource.RLIM_INFINITY else min(hard, IDLE + 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def test_ten_thousand_idle_connections(bundle: Path, files: int) -> None:
    if files < IDLE + 500:
        pytest.skip(f"{files} open files are allowed here")
    with server(bundle, files) as (process, url), ExitStack() as stack:
        before, port = resident(process.pid), int(url.rsplit(":", 1)[1])
        began = time.monotonic()
        idle = opened(stack, port, IDLE)
        let_in(process.pid, IDLE)
        took = time.monotonic() - began
        longest = min(healthy(url) for _ in range(3))  # whatever else the machine did in one of them
        each = (resident(process.pid) - before) / IDLE * 1e3
        print(
            f"{IDLE} in {took:.1f} s, {each:.1f} kB each, then /health/live in at most {longest * 1e3:.0f} ms"
        )
        assert longest < 1.0 and each < 20
        idle[0].sendall(HEAD + b'content-length: 15\r\n\r\n{"user_id":"1"}')
        assert idle[0].recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_more_connections_than_open_files(bundle: Path) -> None:
    with server(bundle, 512) as (_, url), ExitStack() as stack:
        idle = opened(stack, int(url.rsplit(":", 1)[1]), 2_000)
        print(f"/health/live in at most {healthy(url) * 1e3:.0f} ms")
        assert idle[0].recv(1) == b"", "who was idle for longest gave up its place"


def test_heads_that_never_end_hold_nobody_up(bundle: Path) -> None:
    with server(bundle, 4_096) as (_, url), ExitStack() as stack:
        port = int(url.rsplit(":", 1)[1])
        slow = opened(stack, port, 500, HEAD + b"x: ")
        until = time.monotonic() + 9
        while time.monotonic() < until:  # a byte a second of each
            for client in slow:
                client.sendall(b"y")
            assert healthy(url, 5) < 1.0
            time.sleep(0.8)
        time.sleep(3)
        for client in slow:
            assert client.recv(1 << 12).startswith(b"HTTP/1.1 408")


def test_bodies_that_trickle_take_nobodys_place(bundle: Path) -> None:
    with server(bundle, 4_096, "--concurrency", "10") as (_, url), ExitStack() as stack:
        port = int(url.rsplit(":", 1)[1])
        slow = opened(stack, port, 500, HEAD + b"content-length: 1000\r\n\r\n{")
        until = time.monotonic() + 9
        while time.monotonic() < until:
            for client in slow:
                client.sendall(b" ")
            assert healthy(url, 5) < 1.0
            time.sleep(0.8)
        time.sleep(3)
        for client in slow:
            assert client.recv(1 << 12).startswith(b"HTTP/1.1 408")


def test_clients_that_read_nothing_cost_little(bundle: Path) -> None:
    """Each asks for far more than sockets hold."""
    query = json.dumps({"queries": [{"user_id": str(n), "k": 100, "filter_seen": False} for n in range(64)]})
    asked = HEAD + f"content-length: {len(query)}\r\n\r\n{query}".encode()
    with server(bundle, 4_096) as (process, url), ExitStack() as stack:
        deaf = []
        for _ in range(20):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.settimeout(20)
            client.connect(("127.0.0.1", int(url.rsplit(":", 1)[1])))
            client.sendall(asked * 5)
            deaf.append(client)
        assert healthy(url, 5) < 5.0
        time.sleep(1)
        print(f"{resident(process.pid):.0f} MB")
        assert resident(process.pid) < 600
        assert healthy(url, 5) < 1.0
