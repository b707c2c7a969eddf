"""Processes under load: none of their requests is lost when they stop, exchange bundles, or lose a worker."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

import shortlist as sl

pytestmark = pytest.mark.slow
needs_proc = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="reads /proc")
RUN = "from shortlist.cli import main; main()"


class Server:
    """A process and what it says, read all the time so that it never waits for a reader."""

    def __init__(self, *args: str | Path) -> None:
        command = [sys.executable, "-c", RUN, "serve", *map(str, args), "--port", "0"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def ready(self) -> None:
        self.url = json.loads(self.said('"ready"'))["url"]
        self.port = int(self.url.rsplit(":", 1)[1])

    def workers(self) -> list[int]:
        """The processes that said that they are ready."""
        return [json.loads(line)["process"] for line in self.lines if '"ready"' in line]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()

    def said(self, text: str, times: int = 1) -> str:
        """The line in which a text was said so many times, waited for."""
        with self.changed:
            found: list[str] = []

            def there() -> bool:
                found[:] = [line for line in self.lines if text in line]
                return len(found) >= times

            assert self.changed.wait_for(there, 120), (self.process.poll(), self.lines)
            return found[times - 1]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.reader.join(5)
        return code


@contextmanager
def server(*args: str | Path) -> Iterator[Server]:
    made = Server(*args)
    try:
        made.ready()
        yield made
    finally:
        if made.process.poll() is None:
            made.process.kill()
            made.process.wait()
        made.reader.join(5)
        assert made.process.stderr is not None
        made.process.stderr.close()


def until(what: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"waited for {seconds:g} seconds"
        time.sleep(0.02)


class Load:
    """Clients that keep their connections and ask without a break until the port is closed or told to end."""

    def __init__(self, port: int, num: int = 8) -> None:
        self.port, self.told = port, threading.Event()
        self.statuses: Counter[int] = Counter()
        self.versions: Counter[str] = Counter()
        self.lost: list[BaseException] = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(num)]
        for thread in self.threads:
            thread.start()

    def _ask(self, number: int) -> None:
        connection = None
        body, headers = json.dumps({"user_id": str(number + 1)}), {"content-type": "application/json"}
        while not self.told.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
                    connection.connect()
            except ConnectionRefusedError:
                assert connection is not None
                connection.close()
                return
            try:
                connection.request("POST", "/v1/recommend", body, headers)
                answer = connection.getresponse()
                data = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                with self.lock:
                    self.lost.append(error)
                connection.close()
                connection = None
                continue
            with self.lock:
                self.statuses[answer.status] += 1
                self.versions[data.get("bundle", "")] += 1
            if answer.will_close:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def under_way(self, num: int) -> None:
        """Wait until so many requests were answered."""
        until(lambda: self.statuses[200] >= num or self.lost)

    def end(self) -> None:
        self.told.set()
        for thread in self.threads:
            thread.join(30)
        assert not self.lost, Counter(map(repr, self.lost))


@pytest.mark.parametrize("workers, drain", [(1, 0.0), (1, 4.0), (2, 0.0), (2, 0.5)])
def test_no_request_is_lost_when_it_stops(bundle: Path, workers: int, drain: float) -> None:
    for _ in range(1 if drain > 1 else 2):
        with server(bundle, "--workers", str(workers), "--drain", str(drain)) as made:
            made.said('"ready"', workers)
            load = Load(made.port)
            load.under_way(60)
            began = time.monotonic()
            made.process.send_signal(signal.SIGTERM)
            if drain > 1:
                until(lambda: httpx.get(f"{made.url}/health/ready", timeout=30).status_code == 503)
                refused = httpx.get(f"{made.url}/health/ready", timeout=30)
                assert refused.status_code == 503 and refused.headers["connection"] == "close"
            assert made.process.wait(60) == 0
            assert drain <= time.monotonic() - began < drain + 30
            load.end()
            assert set(load.statuses) == {200}
            assert not any("fault" in line for line in made.lines), made.lines


@pytest.mark.parametrize("workers", [1, 2])
def test_no_request_is_lost_while_bundles_are_exchanged(own_bundle: Path, workers: int) -> None:
    """By signal, by file and by request; a broken one is refused; the last is taken back."""
    with server(own_bundle, "--workers", str(workers), "--watch", "0.2") as made:
        made.said('"ready"', workers)
        load = Load(made.port, 4)

        def version() -> str:
            found: str = httpx.get(f"{made.url}/health/ready", timeout=30).json()["bundles"]["a"]
            return found

        def everywhere(wanted: Any) -> None:
            until(lambda: all([wanted(version()) for _ in range(8)]))

        first = version()
        sl.load(own_bundle).remove_items(["50"]).save(own_bundle)
        made.process.send_signal(signal.SIGHUP)
        everywhere(lambda v: v != first)
        second = version()
        sl.load(own_bundle).remove_items(["181"]).save(own_bundle)  # found by the watch
        everywhere(lambda v: v not in (first, second))
        third = version()
        assert httpx.post(f"{made.url}/v1/admin/rollback", json={}).status_code == 200
        everywhere(lambda v: v == second)
        manifest = own_bundle / "manifest.json"
        good = manifest.read_bytes()
        manifest.write_bytes(good[:-30])
        assert httpx.post(f"{made.url}/v1/admin/reload", json={}).status_code == 409
        made.process.send_signal(signal.SIGHUP)
        made.said("reloads_refused", 2)
        everywhere(lambda v: v == second)
        manifest.write_bytes(good)
        assert httpx.post(f"{made.url}/v1/admin/reload", json={}).status_code == 200
        everywhere(lambda v: v == third)
        load.end()
        assert set(load.statuses) == {200}
        assert set(load.versions) == {first, second, third}
        assert made.stop() == 0


def versions(made: Server, num: int = 24) -> set[str]:
    """What workers say they have: each request has a connection of its own, which any of them may take."""
    asked = (httpx.get(f"{made.url}/health/ready", timeout=30) for _ in range(num))
    return {answer.json()["bundles"]["a"] for answer in asked}


def told(made: Server, what: str) -> str:
    answer = httpx.post(f"{made.url}/v1/admin/{what}", json={}, timeout=30)
    assert answer.status_code == 200, answer.text
    version: str = answer.json()["bundles"]["a"]
    return version


def test_workers_have_the_same_when_an_exchange_is_answered(own_bundle: Path) -> None:
    """Whichever worker is asked, and however fast one exchange follows another."""
    with server(own_bundle, "--workers", "2", "--watch", "0") as made:
        made.said('"ready"', 2)
        [first] = versions(made)
        sl.load(own_bundle).remove_items(["50"]).save(own_bundle)
        second = told(made, "reload")
        assert second != first and versions(made) == {second}
        for _ in range(4):
            assert told(made, "rollback") == first
            assert told(made, "reload") == second
        assert told(made, "reload") == second  # what is in use
        assert told(made, "rollback") == first
        assert versions(made) == {first}
        assert told(made, "rollback") == second
        assert versions(made) == {second}
        for number, worker in enumerate(made.workers(), 7):
            os.kill(worker, signal.SIGHUP)
            made.said('"reloads"', number)
        assert told(made, "rollback") == first
        assert versions(made) == {first}
        made.process.send_signal(signal.SIGHUP)  # to both at once
        until(lambda: versions(made) == {second})
        assert made.stop() == 0


@needs_proc
@pytest.mark.parametrize("kept", [True, False])
def test_a_fresh_worker_has_what_the_others_returned_to(
    own_bundle: Path, tmp_path: Path, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though something else is on disk; where no copy of it can be kept, all have what is on disk."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    with server(own_bundle, "--workers", "2") as made:
        made.said('"ready"', 2)
        [first] = versions(made)
        sl.load(own_bundle).remove_items(["50"]).save(own_bundle)
        second = told(made, "reload")
        assert told(made, "rollback") == first
        assert len(list(scratch.iterdir())) == 1, made.lines
        if not kept:
            shutil.rmtree(next(scratch.iterdir()))
        os.kill(children(made.process.pid)[0], signal.SIGKILL)
        made.said('"ready"', 3)
        if kept:
            assert versions(made) == {first}
            assert "50" in str(httpx.get(f"{made.url}/v1/items/50").json())
            assert told(made, "rollback") == second
            assert versions(made) == {second}
            assert told(made, "rollback") == first
        else:
            made.said(f"{first} cannot be read any more")
            until(lambda: versions(made) == {second})
            assert httpx.post(f"{made.url}/v1/admin/rollback", json={}).status_code == 409
        assert made.stop() == 0
    assert not list(scratch.iterdir()), "what was kept is removed"


def children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(one) for one in found]


def memory(process: int) -> dict[str, float]:
    """MB of a process by kind."""
    rows = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    return {row.split(":")[0]: int(row.split()[1]) / 1024 for row in rows}


@needs_proc
def test_a_lost_worker_is_replaced_and_orphans_stop(bundle: Path) -> None:
    with server(bundle, "--workers", "2") as made:
        made.said('"ready"', 2)
        first = children(made.process.pid)
        os.kill(first[0], signal.SIGKILL)
        ended = json.loads(made.said("worker ended"))
        assert (ended["process"], ended["code"]) == (first[0], -9)
        made.said('"ready"', 3)
        now = children(made.process.pid)
        assert len(now) == 2 and first[1] in now and first[0] not in now
        assert httpx.post(f"{made.url}/v1/recommend", json={"user_id": "1"}).status_code == 200
        os.kill(first[1], signal.SIGTERM)  # one alone, which others do not suffer from
        made.said('"ready"', 4)
        for _ in range(10):
            assert httpx.post(f"{made.url}/v1/recommend", json={"user_id": "1"}).status_code == 200
        now = children(made.process.pid)
        made.process.kill()
        until(lambda: all(map(_dead, now)))


def _dead(process: int) -> bool:
    try:
        return ") Z" in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return True


def test_a_worker_that_cannot_begin_ends_it_all(own_bundle: Path) -> None:
    (own_bundle / "manifest.json").write_text("{}")
    command = [sys.executable, "-c", RUN, "serve", str(own_bundle), "--port", "0", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "manifest.json" in done.stderr and "Traceback" not in done.stderr


@needs_proc
def test_events_of_one_worker_count_in_the_other_and_weights_are_shared(bundle: Path, tmp_path: Path) -> None:
    with server(bundle, "--workers", "2", "--events", tmp_path / "e.db") as made:
        made.said('"ready"', 2)
        user, seen = "41", set()
        for n in range(20):  # each over a connection of its own, so that either worker may have it
            got = httpx.post(f"{made.url}/v1/recommend", json={"user_id": user, "k": 1}).json()
            [item] = got["items"]
            assert item["item_id"] not in seen, f"request {n}: an item that the user was said to have had"
            seen.add(item["item_id"])
            event = {"event_id": str(n), "user_id": user, "item_id": item["item_id"]}
            assert httpx.post(f"{made.url}/v1/events", json=event).json()["accepted"] == 1
        workers = children(made.process.pid)
        for one in workers:
            found = memory(one)
            print({name: round(found[name]) for name in ("Rss", "Pss", "Private_Dirty", "Shared_Clean")})
            assert found["Private_Dirty"] < 60, "MB of its own; weights and code are shared"
        counted = httpx.get(f"{made.url}/metrics").text
        assert "shortlist_events_accepted_total 20.0" in counted
        assert made.stop() == 0
