"""Entries of a result, the files they are kept in, and the table people read."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

FIELDS = ("bench", "ours", "peer", "ratio", "unit", "detail")
Entry = dict[str, Any]


def entry(bench: str, ours: list[float], peer: list[float], unit: str, detail: dict[str, Any]) -> Entry:
    """One comparison. Rates ("../s") are better when higher, all else when lower; above 1 ours is better.

    The ratio is the median over rounds of each round's own ratio; "ours" and "peer" are the values of that
    round (the better half's lower one with an even number), so that the three fit together. Medians, spreads
    and every round stand in the detail. A side that was measured once is compared with every round of the
    other.
    """
    rounds = max(len(ours), len(peer))
    first = ours * rounds if len(ours) == 1 else ours
    second = peer * rounds if len(peer) == 1 else peer
    ratios = [ratio(a, b, unit) for a, b in zip(first, second, strict=True)]
    middle = sorted(range(rounds), key=ratios.__getitem__)[(rounds - 1) // 2]
    told = {"ours": spread(ours), "peer": spread(peer), "ratio": spread(ratios)}
    return {
        "bench": bench,
        "ours": rounded(first[middle]),
        "peer": rounded(second[middle]),
        "ratio": rounded(ratios[middle]),
        "unit": unit,
        "detail": {"rounds": told, **detail},
    }


def ratio(ours: float, peer: float, unit: str) -> float:
    """How many times better ours is."""
    return ours / peer if unit.endswith("/s") else peer / ours


def spread(values: list[float]) -> dict[str, Any]:
    """Median, smallest, largest, and all values in the order of the rounds."""
    return {
        "median": rounded(statistics.median(values)),
        "smallest": rounded(min(values)),
        "largest": rounded(max(values)),
        "values": [rounded(value) for value in values],
    }


def rounded(value: float) -> float:
    """Six significant digits."""
    return float(f"{value:.6g}")


def over_runs(runs: list[list[Entry]]) -> list[Entry]:
    """One entry an id from several whole runs: the one with the median ratio, every run's in its detail."""
    out = []
    for same in zip(*runs, strict=True):
        order = sorted(same, key=lambda one: one["ratio"])
        chosen = order[(len(order) - 1) // 2]
        values = [{key: one[key] for key in ("ours", "peer", "ratio")} for one in same]
        out.append(chosen | {"detail": {"runs": values, **chosen["detail"]}})
    return out


def merged(old: list[Entry], new: list[Entry], order: list[str]) -> list[Entry]:
    """The old entries with the new in their places, in the order of the ids."""
    known = {one["bench"]: one for one in [*old, *new]}
    return [known[name] for name in order if name in known]


def markdown(entries: list[Entry], described: dict[str, Any]) -> str:
    """The table, under the machine and the versions it was measured with."""
    machine, versions = described["machine"], described["versions"]
    lines = [
        "# Benchmark results",
        "",
        f"{described['date']}. {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['os']}.",
        "",
        *(f"- {side}: {_listed(found)}" for side, found in versions.items()),
        "",
        "A ratio above 1 means that ours is better. Written by `benchmarks/run.py`; what each line",
        "compares is in `benchmarks/README.md`, every round in `latest.json`.",
        "",
        "| bench | ours | peer | unit | ratio | smallest to largest of the rounds |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *map(_row, entries)]) + "\n"


def _listed(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _row(one: Entry) -> str:
    told = one["detail"]["rounds"]["ratio"]
    values = f"{one['ours']:.4g} | {one['peer']:.4g} | {one['unit']} | {one['ratio']:.3g}"
    return f"| `{one['bench']}` | {values} | {told['smallest']:.3g} to {told['largest']:.3g} |"


def write_atomic(path: Path, text: str) -> None:
    """The whole text or the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(name, 0o644)
    os.replace(name, path)


def read(path: Path) -> list[Entry]:
    """The entries of a file, none where there is no file."""
    if not path.exists():
        return []
    found: list[Entry] = json.loads(path.read_text(encoding="utf-8"))
    return found
