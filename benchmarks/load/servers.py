"""One server on one core or more: started, waited for, measured from outside, ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_WAIT = 120.0


@dataclass(frozen=True)
class Running:
    """A server that answers. ready_seconds: from the start of its process to its first 200 of `ready`."""

    process: subprocess.Popen[bytes]
    address: str
    ready_seconds: float

    def cpu_seconds(self) -> float:
        """Of all its processes and threads, in user mode and in the kernel."""
        return sum(_cpu_ticks(pid) for pid in self._processes()) / _TICK

    def memory_mib(self) -> float:
        """Resident now; of several processes, what they share counted once."""
        pids = self._processes()
        name = "Rss:" if len(pids) == 1 else "Pss:"
        lines = (line for pid in pids for line in _read(pid, "smaps_rollup").splitlines())
        return round(sum(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024, 1)

    def _processes(self) -> list[int]:
        first = self.process.pid
        return [first, *map(int, _read(first, f"task/{first}/children").split())]

    def post(self, path: str, body: bytes) -> bytes:
        """One answer."""
        headers = {"Content-Type": "application/json"}
        asked = urllib.request.Request(self.address + path, body, headers, method="POST")
        with urllib.request.urlopen(asked, timeout=30) as answer:
            found: bytes = answer.read()
            return found

    def get(self, path: str) -> bytes:
        """One answer."""
        with urllib.request.urlopen(self.address + path, timeout=30) as answer:
            found: bytes = answer.read()
            return found


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def _cpu_ticks(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], port: int, environment: dict[str, str], cores: set[int], log: Path
) -> Iterator[Running]:
    """A server on these cores, told to end when the block does."""
    pinned = partial(os.sched_setaffinity, 0, cores)
    begun = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=out, preexec_fn=pinned, start_new_session=True
        )
    try:
        address = f"http://127.0.0.1:{port}"
        while not _answers(address + "/health/ready"):
            if process.poll() is not None or time.perf_counter() - begun > _WAIT:
                raise RuntimeError(f"{command[0]} does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.01)
        yield Running(process, address, round(time.perf_counter() - begun, 3))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return int(answer.status) == 200
    except OSError:
        return False
