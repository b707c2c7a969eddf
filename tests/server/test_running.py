"""A server as a process: started, asked, told to exchange its bundle and to stop; several processes."""

from __future__ import annotations

import asyncio
import json
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

import shortlist as sl
from shortlist.errors import BundleError, ShortlistError
from shortlist.server.app import make_board
from shortlist.server.connections import Connections
from shortlist.server.door import Door, _close_door, _waiting, listen, open_door
from shortlist.server.service import Service
from shortlist.server.settings import Settings, Side

RUN = "from shortlist.cli import main; main()"


@contextmanager
def running(*args: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-c", RUN, "serve", *map(str, args), "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("{"), line + process.stderr.read()
        yield process, json.loads(line)["url"]
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_process_answers_without_jax_and_stops_when_told(own_bundle: Path, tmp_path: Path) -> None:
    began = time.monotonic()
    with running(own_bundle, "--events", tmp_path / "e.db") as (process, url):
        assert httpx.get(f"{url}/health/ready").status_code == 200
        print(f"ready after {time.monotonic() - began:.2f} s")
        maps = Path(f"/proc/{process.pid}/maps")
        if maps.exists():
            assert not {n for n in ("jaxlib", "polars") if n in maps.read_text()}
        user = httpx.post(f"{url}/v1/recommend", json={"user_id": "1"}).json()
        first = user["bundle"]
        sl.load(own_bundle).remove_items(["50"]).save(own_bundle)
        process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 60
        while httpx.get(f"{url}/health/ready", timeout=30).json()["bundles"]["a"] == first:
            assert time.monotonic() < end, "the bundle was not exchanged"
            time.sleep(0.02)
        assert httpx.post(
            f"{url}/v1/events", json={"event_id": "1", "user_id": "1", "item_id": "50"}
        ).is_success
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


@pytest.mark.slow
def test_no_request_is_dropped_while_bundles_are_exchanged(own_bundle: Path) -> None:
    with running(own_bundle, "--workers", "2", "--watch", "0.2") as (process, url):
        stop, seen = threading.Event(), list[tuple[int, str] | Exception]()

        def ask() -> None:
            with httpx.Client(timeout=30) as client:
                while not stop.is_set():
                    try:
                        got = client.post(f"{url}/v1/recommend", json={"user_id": "1"})
                        seen.append((got.status_code, got.json()["bundle"]))
                    except Exception as error:
                        seen.append(error)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for item in ("50", "181", "100"):
                end = time.monotonic() + 60
                while not (before := set(seen)):
                    time.sleep(0.05)
                sl.load(own_bundle).remove_items([item]).save(own_bundle)
                while set(seen) == before:
                    assert time.monotonic() < end, "the bundle was not exchanged"
                    time.sleep(0.05)
            text = httpx.get(f"{url}/metrics", timeout=30).text
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert {one[0] if isinstance(one, tuple) else one for one in seen} == {200}
        assert len(set(seen)) == 4 and len(seen) > 100
        reloads = next(line for line in text.splitlines() if line.startswith("shortlist_reloads_total"))
        assert float(reloads.split()[1]) >= 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_a_port_that_is_taken_and_a_bundle_that_is_none(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(sides=(), port=taken.getsockname()[1])
        with pytest.raises(ShortlistError, match="cannot listen on"):
            listen(settings)
    settings = Settings(sides=(Side(name="a", path=tmp_path),))
    with pytest.raises(BundleError, match="no bundle"):
        Service(settings, make_board(settings))


HEAD = b"POST /v1/recommend HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
GOOD = HEAD + b'content-length: 15\r\n\r\n{"user_id":"1"}'
RUDE = {
    b"\x00\xff\xfe garbage\r\n\r\n": b" 400 ",
    b"GET / HTTP/9.9\r\n\r\n": b" 400 ",
    HEAD + b"content-length: 99999999999\r\n\r\n": b" 413 ",
    HEAD + b"content-length: -1\r\n\r\n": b" 400 ",
    HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n": b"",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n": b"",
    b"GET /v1/items HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 20_000 + b"\r\n": b"",
    GOOD * 3: b" 200 ",
}


def test_rude_clients_are_answered_or_left_and_others_served(bundle: Path) -> None:
    with running(bundle, "--max-body", "5000") as (process, url), ExitStack() as idle:
        port = int(url.rsplit(":", 1)[1])
        for _ in range(300):
            idle.enter_context(socket.create_connection(("127.0.0.1", port)))
        for sent, expected in RUDE.items():
            with socket.create_connection(("127.0.0.1", port), timeout=30) as rude:
                try:
                    rude.sendall(sent)
                    if not expected:
                        rude.shutdown(socket.SHUT_WR)
                    got = rude.recv(1 << 16)
                except ConnectionError:
                    got = b""
                assert expected in got[:20], (sent[:60], got[:200])
                assert b" 500 " not in got[:20]
        for half in (HEAD + b"content-length: 50\r\n\r\n{", GOOD[:40]):
            with socket.create_connection(("127.0.0.1", port)) as gone:
                gone.sendall(half)
        answer = httpx.post(f"{url}/v1/recommend", json={"user_id": "1"})
        assert answer.status_code == 200
        idle.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert process.stderr is not None
        said = process.stderr.read()
        assert "Traceback" not in said, said[said.index("Traceback") :]


def _knocked(listening: socket.socket) -> None:
    """Wait until somebody is at the door: whose connect returned may not be there yet."""
    assert select.select([listening], [], [], 20)[0]


@pytest.mark.skipif(sys.platform != "linux", reason="a filter of Linux")
def test_a_closed_door_lets_in_who_has_knocked_and_nobody_else() -> None:
    settings = Settings(sides=(), port=0)
    with ExitStack() as stack:
        listening = stack.enter_context(listen(settings))
        address = listening.getsockname()
        open_door(listening)
        before = stack.enter_context(socket.create_connection(address, timeout=5))
        _knocked(listening)
        _close_door(listening)
        with pytest.raises(TimeoutError):
            socket.create_connection(address, timeout=0.1)
        before.sendall(b"said")
        [made] = _waiting(listening)
        stack.enter_context(made)
        made.setblocking(True)
        made.settimeout(5)
        assert made.recv(4) == b"said"
        open_door(listening)
        stack.enter_context(socket.create_connection(address, timeout=5))
        _knocked(listening)
        [again] = _waiting(listening)
        again.close()


def test_clients_that_come_together_are_shared_by_workers() -> None:
    """Also where one of them is not awake yet when they come."""

    async def share(listening: socket.socket) -> list[int]:
        counts = memoryview(bytearray(16)).cast("q")
        workers = [Connections(nothing, counts=counts, worker=n) for n in range(2)]
        doors = [Door.open(listening, workers[0])]
        clients = [socket.create_connection(listening.getsockname(), timeout=5) for _ in range(8)]
        await asyncio.sleep(0.003)
        doors.append(Door.open(listening.dup(), workers[1]))
        while sum(len(one.everyone) for one in workers) < 8:
            await asyncio.sleep(0.01)
        found = counts.tolist()
        for one in clients:
            one.close()
        await asyncio.gather(*(door.close() for door in doors))
        doors[1].listening.close()
        assert counts.tolist() == [-1, -1]
        return found

    async def nothing(scope: object, receive: object, send: object) -> None: ...

    with listen(Settings(sides=(), port=0)) as listening:
        open_door(listening)
        assert asyncio.run(asyncio.wait_for(share(listening), 10)) == [4, 4]
