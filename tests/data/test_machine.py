from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from shortlist.data import machine
from shortlist.data.machine import available_memory, cores, free_disk, quota, resident, size_of, writable

GIB = 2**30


def test_the_memory_there_is_lies_within_the_machine() -> None:
    free, limit = available_memory()
    assert 0 < free <= machine.physical() and limit
    ballast = np.ones(2**24)
    with_ballast = resident()
    del ballast
    assert with_ballast - resident() == pytest.approx(2**27, rel=0.1)


def test_a_limit_on_the_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = machine.resource.RLIM_INFINITY
    kinds = {machine.resource.RLIMIT_DATA: machine._status("VmData") + 2**20}
    monkeypatch.setattr(machine.resource, "getrlimit", lambda kind: (kinds.get(kind, unlimited), unlimited))
    free, limit = available_memory()
    assert (limit, free) == ("RLIMIT_DATA", pytest.approx(2**20, abs=2**19))


def grouped(place: Path, monkeypatch: pytest.MonkeyPatch, **files: str) -> None:
    """A container whose control group says this."""
    for name, text in files.items():
        path = place / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(machine, "_GROUPS", place)


def test_a_containers_memory_counts_without_its_cached_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_free", lambda: 100 * GIB)
    files = {"memory_dot_max": str(8 * GIB), "memory_dot_current": str(5 * GIB)}
    stat = f"anon {3 * GIB}\ninactive_file {GIB}\nactive_file {GIB}\n"
    grouped(tmp_path, monkeypatch, **files, memory_dot_stat=stat)
    assert available_memory() == (5 * GIB, "the container's limit")
    grouped(tmp_path, monkeypatch, memory_dot_max="max\n")
    assert available_memory() == (100 * GIB, "free on this machine")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu_dot_max": "150000 100000\n"}, 1.5),
        ({"cpu_dot_max": "max 100000\n"}, None),
        ({"cpu__cpu_dot_cfs_quota_us": "200000", "cpu__cpu_dot_cfs_period_us": "100000"}, 2.0),
        ({"cpu__cpu_dot_cfs_quota_us": "-1", "cpu__cpu_dot_cfs_period_us": "100000"}, None),
        ({}, None),
        ({"cpu_dot_max": "what"}, None),
    ],
)
def test_the_cores_a_container_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: float | None
) -> None:
    grouped(tmp_path, monkeypatch, **files)
    assert quota() == expected


def test_the_cores_the_scheduler_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "os", SimpleNamespace(sched_getaffinity=lambda pid: {0, 3, 5}))
    assert cores() == 3
    monkeypatch.setattr(machine, "os", SimpleNamespace(cpu_count=lambda: None))
    assert cores() == 1


def test_folders_are_looked_at_without_being_made(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    assert writable(deep) and (free_disk(deep) or 0) > 0 and size_of(deep) == (0, 0)
    assert list(tmp_path.iterdir()) == []
    assert not writable(Path("/proc/nothing")), "/proc takes no files, whoever asks"
    (tmp_path / "file").write_bytes(b"1234")
    assert not writable(tmp_path / "file" / "below")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "more").write_bytes(b"12")
    assert size_of(tmp_path) == (6, 2)
