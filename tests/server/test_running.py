"""A server as a process: started, asked, told to exchange its bundle and to stop; several processes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import shortlist as sl

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
        for _ in range(100):
            if httpx.get(f"{url}/health/ready").json()["bundles"]["a"] != first:
                break
            time.sleep(0.05)
        else:
            pytest.fail("the bundle was not exchanged")
        assert httpx.post(
            f"{url}/v1/events", json={"event_id": "1", "user_id": "1", "item_id": "50"}
        ).is_success
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.slow
def test_no_request_is_dropped_while_bundles_are_exchanged(own_bundle: Path) -> None:
    with running(own_bundle, "--workers", "2", "--watch", "0.2") as (process, url):
        stop, statuses = threading.Event(), []

        def ask() -> None:
            with httpx.Client() as client:
                while not stop.is_set():
                    statuses.append(client.post(f"{url}/v1/recommend", json={"user_id": "1"}).status_code)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for item in ("50", "181", "100"):
            sl.load(own_bundle).remove_items([item]).save(own_bundle)
            time.sleep(1.0)
        text = httpx.get(f"{url}/metrics").text
        stop.set()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200} and len(statuses) > 100
        reloads = next(line for line in text.splitlines() if line.startswith("shortlist_reloads_total"))
        assert float(reloads.split()[1]) >= 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_port_that_is_taken_and_a_bundle_that_is_none(bundle: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, "serve", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "error: " in done.stderr and "hint: " in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_else_is_let_in_without_keys(bundle: Path) -> None:
    from shortlist.cli.console import PROBLEM

    done = subprocess.run(
        [sys.executable, "-c", RUN, "serve", str(bundle), "--host", "0.0.0.0"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == PROBLEM and "no keys" in done.stderr
