"""A connection by itself, before an application that tells what it was given: order, closing, time, room."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from shortlist.server.connections import Connections, Limits
from shortlist.server.protocol import Connection

SHORT = Limits(
    connections=60,
    head_bytes=8_192,
    headers=40,
    head_seconds=0.3,
    idle_seconds=0.5,
    write_seconds=0.3,
    linger_seconds=0.3,
    linger_bytes=1 << 20,
    sweep=0.05,
)
PATIENT = replace(SHORT, head_seconds=60.0, idle_seconds=60.0, write_seconds=60.0, linger_seconds=60.0)
BIG = b"x" * 8_000_000
HOST = b"host: localhost\r\n"
GET = b"GET /%b HTTP/1.1\r\n" + HOST + b"\r\n"


async def told(scope: Any, receive: Any, send: Any) -> None:
    """What came, as JSON; /big: more than sockets hold; /slow, /fails, /half, /stream as they say."""
    body, more = b"", scope["method"] == "POST"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    path = scope["path"]
    if path == "/slow":
        await asyncio.sleep(0.05)
    if path == "/fails":
        raise KeyError("a secret")
    headers = [(b"content-type", b"application/json")]
    if path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in (b"one ", b"", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    about = {"path": path, "raw": scope["raw_path"].decode(), "query": scope["query_string"].decode()}
    about |= {"method": scope["method"], "host": dict(scope["headers"]).get(b"host", b"").decode()}
    data = BIG if path == "/big" else json.dumps(about | {"body": len(body)}).encode()
    headers.append((b"content-length", b"%d" % len(data)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if path == "/half":
        await send({"type": "http.response.body", "body": b"{", "more_body": True})
        raise KeyError("a secret")
    await send({"type": "http.response.body", "body": data})


def new_loop() -> asyncio.AbstractEventLoop:
    """The loop that serves where it is installed."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


@contextmanager
def listening(limits: Limits = PATIENT, app: Any = told) -> Iterator[tuple[int, Connections]]:
    loop, ready = new_loop(), threading.Event()
    found: dict[str, Any] = {}

    async def main() -> None:
        found["shared"] = shared = Connections(app, limits)
        found["stop"] = stop = asyncio.Event()
        server = await loop.create_server(lambda: Connection(shared), "127.0.0.1", 0, backlog=512)
        found["port"] = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()
        for connection in list(shared.everyone):
            connection.cut()
        await asyncio.sleep(0)

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    ready.wait(30)
    try:
        yield found["port"], found["shared"]
    finally:
        loop.call_soon_threadsafe(found["stop"].set)
        thread.join(30)
        loop.close()


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, Connections]]:
    with listening() as made:
        yield made


@pytest.fixture(scope="module")
def hasty() -> Iterator[tuple[int, Connections]]:
    """One that waits for nobody for long."""
    with listening(SHORT) as made:
        yield made


@contextmanager
def connecting(port: int) -> Iterator[Callable[[], socket.socket]]:
    made: list[socket.socket] = []

    def one() -> socket.socket:
        made.append(socket.create_connection(("127.0.0.1", port), timeout=20))
        return made[-1]

    try:
        yield one
    finally:
        for client in made:
            client.close()


@pytest.fixture
def connect(server: tuple[int, Connections]) -> Iterator[Callable[[], socket.socket]]:
    with connecting(server[0]) as one:
        yield one


@pytest.fixture
def connect_hasty(hasty: tuple[int, Connections]) -> Iterator[Callable[[], socket.socket]]:
    with connecting(hasty[0]) as one:
        yield one


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end, "waited for 20 seconds"
        time.sleep(0.005)


def everything(client: socket.socket) -> bytes:
    """Until the server closes, which it has to."""
    got = b""
    while part := client.recv(1 << 16):
        got += part
    return got


def answer(client: socket.socket) -> tuple[int, dict[bytes, bytes], bytes]:
    """One answer of a connection that stays."""
    got = b""
    while b"\r\n\r\n" not in got:
        part = client.recv(1 << 16)
        assert part, got
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    line, *rest = head.split(b"\r\n")
    headers = dict(one.split(b": ", 1) for one in rest)
    while len(body) < int(headers[b"content-length"]):
        part = client.recv(1 << 20)
        assert part, "an end in the middle"
        body += part
    return int(line.split()[1]), headers, body


def statuses(got: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1.1 (\d{3}) ", got)]


def test_answers_come_one_after_the_other(connect: Any) -> None:
    client = connect()
    client.sendall(GET % b"a%2Fb?q=%20" + GET % b"slow" + GET % b"c")
    first, second, third = (json.loads(answer_of) for answer_of in bodies(client, 3))
    assert (first["path"], first["raw"], first["query"]) == ("/a/b", "/a%2Fb", "q=%20")
    assert (second["path"], third["path"]) == ("/slow", "/c")
    client.sendall(GET % b"again")
    status, headers, body = answer(client)
    assert status == 200 and json.loads(body)["path"] == "/again"
    assert b"connection" not in headers and headers[b"date"].endswith(b" GMT")


def bodies(client: socket.socket, num: int) -> list[bytes]:
    found: list[bytes] = []
    got = b""
    while len(found) < num:
        part = client.recv(1 << 16)
        assert part, got
        got += part
        found = [one.partition(b"\r\n\r\n")[2] for one in got.split(b"HTTP/1.1 200 OK\r\n")[1:]]
        found = [one for one in found if one.endswith(b"}")]
    return found


def test_a_request_byte_by_byte(connect: Any) -> None:
    client = connect()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sent = (
        b"POST /x HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    for byte in sent:
        client.sendall(bytes([byte]))
    status, _, body = answer(client)
    assert status == 200 and json.loads(body)["body"] == 5


def test_the_body_is_waited_for_only_by_who_wants_it(connect: Any) -> None:
    client = connect()
    client.sendall(b"POST /x HTTP/1.1\r\n" + HOST + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\n")
    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"abc")
    assert json.loads(answer(client)[2])["body"] == 3
    client.sendall(b"GET /x HTTP/1.1\r\n" + HOST + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\n")
    got = everything(client)
    assert statuses(got) == [200] and b"connection: close" in got


def test_the_last_answer_can_be_read_though_the_client_still_sends(connect: Any) -> None:
    client = connect()
    client.sendall(b"GET /x HTTP/1.1\r\n" + HOST + b"content-length: 900000\r\n\r\n" + b"x" * 300_000)
    time.sleep(0.1)
    client.sendall(b"x" * 300_000)
    assert statuses(everything(client)) == [200]


def test_head_and_versions(connect: Any) -> None:
    client = connect()
    client.sendall(b"HEAD /x HTTP/1.1\r\n" + HOST + b"\r\n" + GET % b"y")
    got = b""
    while not got.endswith(b"}"):
        got += client.recv(1 << 16)
    assert statuses(got) == [200, 200] and got.count(b"{") == 1
    old = connect()
    old.sendall(b"GET /x HTTP/1.0\r\n\r\n")
    got = everything(old)
    assert statuses(got) == [200] and b"connection: close" in got
    last = connect()
    last.sendall(b"GET /x HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n" + GET % b"ignored")
    assert statuses(everything(last)) == [200]
    whole = connect()
    whole.sendall(b"GET http://Example.org:81/p?q=1 HTTP/1.1\r\n" + HOST + b"\r\n")
    told_of = json.loads(answer(whole)[2])
    assert (told_of["host"], told_of["path"], told_of["query"]) == ("Example.org:81", "/p", "q=1")


def test_answers_in_pieces(connect: Any) -> None:
    client = connect()
    client.sendall(GET % b"stream" + GET % b"x")
    got = b""
    while not got.endswith(b"}"):
        got += client.recv(1 << 16)
    assert (
        b"transfer-encoding: chunked" in got
        and b"\r\n\r\n4\r\none \r\n3\r\ntwo\r\n0\r\n\r\nHTTP/1.1 200" in got
    )
    old = connect()
    old.sendall(b"GET /stream HTTP/1.0\r\n\r\n")
    assert everything(old).endswith(b"\r\n\r\none two")


def test_half_closed_clients_get_their_answers(connect: Any) -> None:
    client = connect()
    client.sendall(GET % b"slow" + GET % b"b")
    client.shutdown(socket.SHUT_WR)
    assert statuses(everything(client)) == [200, 200]
    for half in (b"", b"GET /", b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 9\r\n\r\nabc"):
        client = connect()
        client.sendall(half)
        client.shutdown(socket.SHUT_WR)
        assert everything(client) == b""


BAD = {
    "no http": (b"\x00\xff\xfe garbage\r\n\r\n", 400),
    "version": (b"GET / HTTP/3.7\r\n\r\n", 400),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + b"Host: other\r\n\r\n", 400),
    "method": (b"FROB / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "tunnel": (b"CONNECT localhost:22 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "scheme": (b"GET gopher://localhost/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "no utf-8": (b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "blank in target": (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "NUL in target": (b"GET /a\x00b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "NUL in value": (b"GET / HTTP/1.1\r\n" + HOST + b"x: a\x00b\r\n\r\n", 400),
    "blank before colon": (b"GET / HTTP/1.1\r\n" + HOST + b"content-length : 5\r\n\r\nabcde", 400),
    "name": (b"GET / HTTP/1.1\r\n" + HOST + b"a(b: c\r\n\r\n", 400),
    "both lengths": (
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "both lengths, turned": (
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        400,
    ),
    "lengths in a list": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 3, 3\r\n\r\nabc", 400),
    "signed length": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: +3\r\n\r\nabc", 400),
    "negative length": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: -3\r\n\r\nabc", 400),
    "great length": (b"POST / HTTP/1.1\r\n" + HOST + b"content-length: 99999999999999999999\r\n\r\n", 400),
    "coding": (b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "coding after": (
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunk size": (b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
    "chunk end": (b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n1\r\nab\r\n", 400),
    "chunk size signed": (
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n-1\r\nab\r\n",
        400,
    ),
    "chunk size great": (
        b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 20 + b"\r\nab\r\n",
        400,
    ),
    "many headers": (b"GET / HTTP/1.1\r\n" + HOST + b"x: y\r\n" * 100 + b"\r\n", 431),
    "long header": (b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"y" * 9_000 + b"\r\n\r\n", 431),
    "long name": (b"GET / HTTP/1.1\r\n" + HOST + b"x" * 9_000 + b": y\r\n\r\n", 431),
    "long target": (b"GET /" + b"y" * 9_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
    "long trailers": (
        b"POST / HTTP/1.1\r\n"
        + HOST
        + b"transfer-encoding: chunked\r\n\r\n0\r\n"
        + b"x: y\r\n" * 5_000
        + b"\r\n",
        431,
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_problems_and_the_last_word(connect: Any, name: str) -> None:
    sent, status = BAD[name]
    client = connect()
    client.sendall(GET % b"slow" + sent + GET % b"behind")
    got = everything(client)
    assert statuses(got) == [200, status], got
    head, _, body = got.rpartition(b"\r\n\r\n")
    assert json.loads(body)["status"] == status
    assert b"application/problem+json" in head and b"connection: close" in head


def test_a_header_without_end_is_given_up(connect: Any) -> None:
    client = connect()
    with pytest.raises(ConnectionError):  # written after it was told, and after that was waited for
        for _ in range(400):
            client.sendall(b"GET / HTTP/1.1\r\nx: " if _ == 0 else b"y" * 8_192)
            time.sleep(0.001)


def test_faults_say_nothing_of_what_failed(connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = connect()
    client.sendall(GET % b"fails")
    status, _, body = answer(client)
    assert status == 500 and b"secret" not in body
    client = connect()
    client.sendall(GET % b"half")
    with pytest.raises(ConnectionError):
        assert not everything(client).endswith(b"}")
        raise ConnectionError  # or an end in the middle
    assert "KeyError" in caplog.text and "test_protocol.py" in caplog.text and "secret" not in caplog.text


def test_slow_heads_and_idle_clients_are_left(connect_hasty: Any) -> None:
    began = time.monotonic()
    dripping, idle, blank = connect_hasty(), connect_hasty(), connect_hasty()
    blank.sendall(b"\r\n")
    sent = iter(b"GET / HTTP/1.1\r\n" + HOST + b"x-long: " + b"y" * 1_000)
    got = b""
    dripping.settimeout(0.02)
    while time.monotonic() - began < 10 and not got:
        try:
            dripping.sendall(bytes([next(sent)]))
            got = dripping.recv(1 << 16)
        except TimeoutError:
            continue
    assert statuses(got) == [408] and 0.25 < time.monotonic() - began < 10
    assert everything(idle) == everything(blank) == b""
    assert 0.4 < time.monotonic() - began < 20


def test_a_client_that_does_not_read_is_left(hasty: Any, connect_hasty: Any) -> None:
    _, shared = hasty
    client = connect_hasty()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.sendall(GET % b"big" * 5)
    until(lambda: shared.stuck)
    until(lambda: not shared.everyone and not shared.tasks)
    assert not shared.stuck


def test_a_client_that_reads_slowly_has_all_of_it() -> None:
    """The time is that for one piece."""
    with listening(Limits(sweep=0.02)) as (port, shared), connecting(port) as connect:
        slow = connect()
        slow.sendall(GET % b"big")
        until(lambda: shared.stuck)
        aged = threading.Event()

        def age() -> None:
            [(made, (since, left))] = shared.stuck.items()
            shared.stuck[made] = (since - 1_000.0, left + 1)  # a byte in all that time
            aged.set()

        shared.loop.call_soon_threadsafe(age)
        aged.wait(20)
        time.sleep(0.1)  # looks
        status, _, body = answer(slow)
        assert (status, len(body)) == (200, len(BIG))


def test_the_longest_idle_makes_room() -> None:
    limits = Limits(connections=20, sweep=0.05)
    with listening(limits) as (port, shared), connecting(port) as connect:
        idle = [connect() for _ in range(50)]
        late = connect()
        late.sendall(GET % b"x")
        assert answer(late)[0] == 200
        assert len(shared.everyone) <= 20
        assert idle[0].recv(1) == b""
        busy = [connect() for _ in range(20)]
        for one in busy:
            one.sendall(b"POST /x HTTP/1.1\r\n" + HOST + b"content-length: 5\r\n\r\n")
        until(lambda: len(shared.tasks) == 20)
        got = everything(connect())
        assert statuses(got) == [503] and b"retry-after: 2" in got
        for one in busy:
            one.sendall(b"12345")
            assert answer(one)[0] == 200


def test_a_server_that_stops_says_so_and_closes() -> None:
    with listening(Limits(sweep=0.05)) as (port, shared), connecting(port) as connect:
        kept, busy = connect(), connect()
        kept.sendall(GET % b"x")
        assert b"connection" not in answer(kept)[1]
        busy.sendall(GET % b"slow" + GET % b"y")
        until(lambda: len(shared.everyone) == 2)
        for one in list(shared.everyone):
            shared.loop.call_soon_threadsafe(one.shutdown)
        assert statuses(everything(busy)) == [200, 200]
        assert everything(kept) == b"", "long before an idle connection is closed"


def test_who_was_idle_has_a_last_chance_from_when_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shortlist.server.connections._LAST_CHANCE", 20.0)
    with listening(Limits(sweep=0.02)) as (port, shared), connecting(port) as connect:
        idle = connect()
        until(lambda: shared.idle)
        stopping = threading.Event()

        def stop() -> None:
            [made] = shared.everyone
            shared.idle[made] -= 40.0  # it fell idle that long ago
            made.shutdown()
            stopping.set()

        shared.loop.call_soon_threadsafe(stop)
        stopping.wait(20)
        time.sleep(0.1)
        idle.sendall(GET % b"x")
        status, headers, _ = answer(idle)
        assert (status, headers[b"connection"]) == (200, b"close")


def test_what_came_while_the_process_was_held_up_is_answered() -> None:
    """Timers may run before sockets are read, so one that looks at the clock alone would close this."""
    with listening(Limits(idle_seconds=0.5, sweep=0.02)) as (port, shared), connecting(port) as connect:
        for _ in range(20):
            began = time.monotonic()
            late, held, go_on = connect(), threading.Event(), threading.Event()
            until(lambda: shared.idle)

            def hold_up(held: threading.Event = held, go_on: threading.Event = go_on) -> None:
                held.set()
                go_on.wait(20)
                assert shared._sweeping is not None
                shared._sweeping.cancel()
                shared._sweep()  # as a timer that is due

            shared.loop.call_soon_threadsafe(hold_up)
            held.wait(20)
            late.sendall(GET % b"x")
            soon = time.monotonic() - began < 0.4  # else it is closed with reason
            time.sleep(max(0.0, 0.6 - (time.monotonic() - began)))
            go_on.set()
            if soon:
                break
        assert answer(late)[0] == 200
