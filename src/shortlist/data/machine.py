"""The machine this process runs on: memory, cores and disk it may use. The standard library alone."""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_GROUPS = Path("/sys/fs/cgroup")


def resident() -> int:
    """Bytes of memory this process has now."""
    if found := _status("VmRSS"):
        return found
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def available_memory() -> tuple[int, str]:
    """Bytes this process may take beside what it has, and what sets that limit: the machine's free memory,
    the container's, or a limit on this process."""
    return min(_limits(), key=lambda found: found[0])


def _limits() -> Iterator[tuple[int, str]]:
    yield _free(), "free on this machine"
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, usage = _number(_GROUPS / most), _number(_GROUPS / used)
        if limit is not None and usage is not None:
            cached = min(usage, _cached((_GROUPS / used).parent))
            yield max(limit - usage + cached, 0), "the container's limit"
    for name, kind, status in (
        ("RLIMIT_DATA", resource.RLIMIT_DATA, "VmData"),
        ("RLIMIT_AS", resource.RLIMIT_AS, "VmSize"),
    ):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            yield max(limit - _status(status), 0), name


def _free() -> int:
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return physical()


def physical() -> int:
    """Bytes of memory of the whole machine."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return sys.maxsize


def _cached(group: Path) -> int:
    """Bytes of files a control group holds in memory: given back when they are wanted."""
    try:
        lines = (line.split() for line in (_GROUPS / "memory.stat").read_text().splitlines())
        told = {name: int(value) for name, value in lines}
    except (OSError, ValueError):
        return 0
    prefix = "total_" if "total_inactive_file" in told else ""
    return told.get(f"{prefix}inactive_file", 0) + told.get(f"{prefix}active_file", 0)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _status(field: str) -> int:
    """Bytes of a field of the process' status; 0 where it is not told."""
    try:
        lines: dict[str, Any] = dict(
            line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line
        )
    except OSError:
        return 0
    return int(lines[field].split()[0]) * 1024 if field in lines else 0


# Cores and disk


def cores() -> int:
    """How many cores the scheduler may put this process on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def quota() -> float | None:
    """How many cores' time the container has, None without a limit."""
    try:
        most, period = (_GROUPS / "cpu.max").read_text().split()
        return None if most == "max" else int(most) / int(period)
    except (OSError, ValueError):
        pass
    most_v1 = _number(_GROUPS / "cpu" / "cpu.cfs_quota_us")  # None for -1, which is no limit
    period_v1 = _number(_GROUPS / "cpu" / "cpu.cfs_period_us")
    return most_v1 / period_v1 if most_v1 and period_v1 else None


def free_disk(path: Path) -> int | None:
    """Bytes that may be written below a folder, or where it would be made; None where nobody can tell."""
    try:
        return shutil.disk_usage(nearest(path)).free
    except OSError:
        return None


def writable(path: Path) -> bool:
    """Whether a file can be put into a folder, or the folder be made."""
    try:
        with tempfile.TemporaryFile(dir=nearest(path)):
            return True
    except OSError:
        return False


def nearest(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    path = Path(os.path.abspath(path))
    return next((found for found in (path, *path.parents) if found.exists()), path)


def size_of(folder: Path) -> tuple[int, int]:
    """Bytes and number of the files below a folder; 0, 0 without one."""
    nbytes, num_files = 0, 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                nbytes += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue  # gone meanwhile
            num_files += 1
    return nbytes, num_files
