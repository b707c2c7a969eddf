"""What every measuring process shares: repeated timing, memory, one JSON line a measurement."""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")


def emit(name: str, value: float, **detail: Any) -> None:
    """Print one measurement: the value that is compared, and whatever explains it."""
    print(json.dumps({"name": name, "value": value, "detail": detail}), flush=True)


def seconds_each(work: Callable[[], Any], *, repeats: int, warm: int = 2) -> list[float]:
    """Wall seconds of `work`, called `repeats` times after `warm` calls that are not counted."""
    for _ in range(warm):
        work()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def emit_seconds(name: str, work: Callable[[], Any], *, repeats: int, warm: int = 2, **detail: Any) -> None:
    """The median of `repeats` calls, the smallest and the largest, and the memory one more call needs."""
    found = seconds_each(work, repeats=repeats, warm=warm)
    emit(
        name,
        statistics.median(found),
        smallest=min(found),
        largest=max(found),
        repeats=repeats,
        measured_extra_mib=extra_memory(work),
        **detail,
    )


def extra_memory(work: Callable[[], Any]) -> float | None:
    """MiB by which resident memory rises above its present level while `work` runs; None if unknown here.

    Linux keeps a high-water mark that can be reset; what a library keeps for reuse is already in the present
    level, so this is a lower bound where a library pools its memory.
    """
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
    except OSError:
        return None
    work()
    return round((_status("VmHWM") - before) / 1024, 1)


def peak_memory() -> float:
    """The most MB resident so far: of this program alone, where `getrusage` counts what started it too."""
    try:
        return round(_status("VmHWM") * 1024 / 1e6, 1)
    except OSError:
        import resource

        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 1)


@contextmanager
def most_memory() -> Iterator[dict[str, float]]:
    """The most memory that no file backs, MiB, so far in the block: used (RssAnon) and reserved (VmData)."""
    most, done = {"RssAnon": 0.0, "VmData": 0.0}, threading.Event()

    def watch() -> None:
        while STATUS.exists() and not done.wait(0.02):
            for key in most:
                most[key] = max(most[key], _status(key) / 1024)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        done.set()
        watcher.join()


def _status(field: str) -> int:
    """KiB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1])


def folder() -> Path:
    """Where the bench has put the data, see `inputs.py`."""
    return Path(os.environ["BENCH_DATA"])


def run_named(measurements: dict[str, Callable[[], None]], names: list[str]) -> None:
    """Run the measurements asked for, in the order given."""
    for name in names:
        measurements[name]()
