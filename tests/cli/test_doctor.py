from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shortlist.api import examining
from shortlist.api.examining import Examination, examine
from shortlist.api.probes import PARTS, Finding

Cli = Callable[..., Any]
TOLD = {"train": {"backend": "cpu", "devices": ["cpu"]}}


def findings(**status: Any) -> list[Finding]:
    return [
        Finding(
            part,
            status.get(part.name, "ok"),
            "it said this" * (part.name in status),
            0.5,
            TOLD.get(part.name, {}),
        )
        for part in PARTS
    ]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """What trying the parts finds: found(train="missing")."""
    monkeypatch.setenv("SHORTLIST_CACHE", str(tmp_path / "cache"))

    def set_to(**status: Any) -> None:
        monkeypatch.setattr(examining, "try_parts", lambda: findings(**status))

    set_to()
    return set_to


def test_everything_is_told_as_text(cli: Cli, found: Callable[..., None]) -> None:
    said = cli("doctor")
    assert (said.code, said.err) == (0, "")
    for words in (
        "Parts",
        "Versions",
        "Machine",
        "Settings",
        "Caches",
        "Disk",
        "OMP_NUM_THREADS",
        "onnxruntime",
    ):
        assert words in said.out
    assert "no complaints" in said.out or "note: " in said.out


def test_everything_is_told_as_json(cli: Cli, found: Callable[..., None], tmp_path: Path) -> None:
    found(serve="missing", ann="broken")
    said = cli("doctor", "--json")
    assert said.code == 0
    assert {part["part"]: part["status"] for part in said.json["parts"]} == {
        **{part.name: "ok" for part in PARTS},
        "serve": "missing",
        "ann": "broken",
    }
    assert said.json["devices"] == ["cpu"] and said.json["well"] is True
    assert said.json["versions"]["shortlist"] and said.json["versions"]["numpy"]
    assert said.json["caches"][0]["path"] == str(tmp_path / "cache")
    assert not (tmp_path / "cache").exists(), "a look leaves nothing behind"
    machine = said.json["machine"]
    assert 0 < machine["memory_free_bytes"] <= machine["memory_bytes"]
    assert {place["place"] for place in said.json["disk"]} == {"this folder", "cache", "temporary files"}


@pytest.mark.parametrize(("part", "code"), [("base", 1), ("ann", 0)])
@pytest.mark.parametrize("status", ["missing", "broken"])
def test_only_what_is_needed_makes_it_fail(
    cli: Cli, found: Callable[..., None], part: str, status: str, code: int
) -> None:
    found(**{part: status})
    said = cli("doctor")
    assert said.code == code
    (line,) = [line for line in said.out.splitlines() if line.startswith(part + " ")]
    assert status in line and "it said this" in line and "install" in line


@pytest.fixture
def fine(found: Callable[..., None]) -> Examination:
    """A machine with nothing to note."""
    roomy = {"cores_quota": None, "cores_usable": 8, "memory_free_bytes": 2**34, "nvidia_driver": False}
    seen = examine()
    return replace(
        seen,
        machine={**seen.machine, **roomy},
        disk=tuple({**place, "free_bytes": 2**40} for place in seen.disk),
        settings=dict.fromkeys(seen.settings),
    )


def test_notes_say_what_may_be_changed(fine: Examination) -> None:
    assert fine.notes == []

    def noted(**changes: Any) -> str:
        machine = {**fine.machine, **changes.pop("machine", {})}
        (said,) = replace(fine, machine=machine, **changes).notes
        return said

    assert "OMP_NUM_THREADS=1" in noted(machine={"cores_quota": 1.5})
    assert "memory" in noted(machine={"memory_free_bytes": 2**20, "memory_limit": "the container's limit"})
    assert "gpu" in noted(machine={"nvidia_driver": True})
    assert "SHORTLIST_CACHE" in noted(caches=({**fine.caches[0], "writable": False},))
    assert "disk" in noted(disk=({**fine.disk[0], "free_bytes": 5},))
    limited = {"cores_quota": 1.5}
    settings = {**fine.settings, "OMP_NUM_THREADS": "1"}
    assert replace(fine, machine={**fine.machine, **limited}, settings=settings).notes == []
