"""wrk: the load, and what it says of the answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path

SCRIPT = Path(__file__).with_name("load.lua")
MISSING = "wrk makes the load and is not installed: apt-get install wrk (Debian, Ubuntu)"


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is asked. kind: as load.lua has it; first: number of the first user and item; start: seconds since
    1970 of the first event."""

    kind: str
    connections: int
    users: int
    items: int
    first: int = 1
    start: int = 893_286_639  # a second after the last rating of MovieLens 100K

    def described(self) -> str:
        """In words."""
        writes = ", one request in ten writes an event" if self.kind == "recommend" else ""
        return f"{self.connections} connections, users by Zipf over {self.users:,}{writes}"


def require_wrk() -> str:
    """Where wrk is. SystemExit where it is not."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit(MISSING)
    return found


def command(load: Load, address: str, seconds: float, seed: str) -> list[str]:
    """One thread of wrk."""
    numbers = [load.users, load.items, load.first, load.start]
    flags = [f"-t1 -c{load.connections} -d{max(1, round(seconds))}s --timeout 10s".split()]
    return ["wrk", *flags[0], "-s", str(SCRIPT), address, "--", load.kind, *map(str, numbers), seed]


def run(load: Load, address: str, seconds: float, seed: str, core: int) -> dict[str, float]:
    """Ask for some seconds from one core. RuntimeError where any request failed."""
    pinned = partial(os.sched_setaffinity, 0, {core})
    asked = command(load, address, seconds, seed)
    done = subprocess.run(
        asked, capture_output=True, text=True, check=True, timeout=seconds + 60, preexec_fn=pinned
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, float] = json.loads(line.removeprefix("RESULT "))
    if found.pop("failed"):
        raise RuntimeError(f"requests failed: {done.stdout}")
    return found
