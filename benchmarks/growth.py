"""How time an example and memory grow with the log: three synthetic logs, each in a process of its own.

Writes `results/growth.json`, the lines of `results/growth.md` and the plot `docs/images/growth.svg`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from environments import BUILD, ROOT
from machine import hardware
from measure import run
from results import rounded, write_atomic

SIZES = (100_000, 1_000_000, 10_000_000)
ROWS_A_USER, ROWS_AN_ITEM = 100, 500


def write_log(num_rows: int, folder: Path) -> Path:
    """A log with a user for every 100 rows and an item for every 500 (MovieLens 10M: 143 and 937), drawn by
    Zipf-like activity and popularity (exponents 0.5 and 0.8), ratings of 1 to 5; the same whenever made."""
    path = folder / f"growth-{num_rows}.parquet"
    if path.exists():
        return path
    rng = np.random.default_rng(num_rows)
    users = _drawn(rng, num_rows // ROWS_A_USER, 0.5, num_rows)
    items = _drawn(rng, num_rows // ROWS_AN_ITEM, 0.8, num_rows)
    table = pl.DataFrame({"user": users, "item": items, "rating": rng.integers(1, 6, num_rows) * 1.0})
    ids = [pl.format(f"{name[0]}{{}}", name).alias(f"{name}_id") for name in ("user", "item")]
    folder.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".writing")
    table.select(*ids, "rating").write_parquet(beside)
    beside.replace(path)
    return path


def _drawn(rng: np.random.Generator, size: int, exponent: float, num_rows: int) -> Any:
    share = np.cumsum((rng.permutation(size) + 5.0) ** -exponent)
    return np.minimum(np.searchsorted(share, rng.random(num_rows) * share[-1]), size - 1).astype(np.int32)


def measure_growth() -> list[dict[str, Any]]:
    """One measurement a size."""
    found = []
    for size in SIZES:
        path = write_log(size, BUILD / "data")
        print(f"growth: {size:,} rows ...", file=sys.stderr, flush=True)
        ran = run("growth", [str(path)])
        detail = _rounded(ran.details[path.stem])
        found.append(detail | {"process_seconds": rounded(ran.seconds), "process_peak_mib": ran.peak_mib})
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return rounded(value) if isinstance(value, float) else value


def write_growth(found: list[dict[str, Any]], folder: Path) -> None:
    """The figures, their table and their plot."""
    whole = {"machine": hardware(), "sizes": found}
    write_atomic(folder / "growth.json", json.dumps(whole, indent=1) + "\n")
    write_atomic(folder / "growth.md", table(whole))
    write_atomic(ROOT / "docs" / "images" / "growth.svg", plot(found))


HEADER = (
    "interactions", "users", "items", "prepare µs/example", "fit µs/example", "ns/score",
    "evaluate µs/query", "ns/score", "peak MiB after read", "after prepare", "after fit and evaluate",
)  # fmt: skip


def table(whole: dict[str, Any]) -> str:
    """Markdown: a line a size."""
    machine = whole["machine"]
    lines = [
        "# Growth",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB. Written by "
        "`benchmarks/run.py --only growth`.",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|" + "---|" * len(HEADER),
    ]
    return "\n".join([*lines, *map(_line, whole["sizes"])]) + "\n"


def _line(one: dict[str, Any]) -> str:
    peaks = one["peak_mib"]
    cells = [
        *(f"{one[name]:,}" for name in ("rows", "users", "items")),
        *(f"{one[name]:.3g}" for name in ("prepare_us", "fit_us", "fit_score_ns", "evaluate_us", "score_ns")),
        *(f"{peaks[name]:,.0f}" for name in ("read", "prepare", "evaluate")),
    ]
    return "| " + " | ".join(cells) + " |"


# Plot: both axes in powers of ten

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_LEFT, _TOP, _WIDTH, _HEIGHT = 60.0, 16.0, 400.0, 260.0


def plot(found: list[dict[str, Any]]) -> str:
    """A self-contained SVG: figures by size of the log, both axes logarithmic."""
    curves = {
        "prepare, µs an example": [one["prepare_us"] for one in found],
        "fit, µs an example": [one["fit_us"] for one in found],
        "evaluate, µs a query": [one["evaluate_us"] for one in found],
        "peak memory, MiB": [one["process_peak_mib"] for one in found],
    }
    sizes = [one["rows"] for one in found]
    every = [value for values in curves.values() for value in values]
    low, high = int(np.floor(np.log10(min(every)))), int(np.ceil(np.log10(max(every))))
    first, last = np.log10(min(sizes)), np.log10(max(sizes))

    def place(size: float, value: float) -> tuple[float, float]:
        x = _LEFT + (np.log10(size) - first) / (last - first) * _WIDTH
        return x, _TOP + (high - np.log10(value)) / (high - low) * _HEIGHT

    parts = [_grid(place, sizes, low, high)]
    for number, (name, values) in enumerate(curves.items()):
        parts.append(
            _curve(number, name, [place(*point) for point in zip(sizes, values, strict=True)], values)
        )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="Time an example and memory by size '
        f'of the log" viewBox="0 0 700 {_TOP + _HEIGHT + 44:g}" width="700" font-family="sans-serif" '
        'font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _grid(place: Any, sizes: list[int], low: int, high: int) -> str:
    parts = []
    for power in range(low, high + 1):
        _, y = place(sizes[0], 10.0**power)
        parts.append(f'<path d="M{_LEFT:g} {y:.1f}H{_LEFT + _WIDTH:g}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 8:g}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:,g}</text>')
    for size in sizes:
        x, y = place(size, 10.0**low)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{size:,}</text>')
    middle, base = _LEFT + _WIDTH / 2, _TOP + _HEIGHT + 36
    return (
        "".join(parts)
        + f'<text x="{middle:g}" y="{base:g}" text-anchor="middle">interactions in the log</text>'
    )


def _curve(number: int, name: str, spots: list[tuple[float, float]], values: list[float]) -> str:
    colour = _COLOURS[number]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    parts = [f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>']
    for (x, y), value in zip(spots, values, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{y - 7:.1f}" text-anchor="middle" fill="{colour}">{value:,.3g}</text>'
        )
    y = _TOP + 14 + 20 * number
    parts.append(f'<path d="M490 {y - 4:g}h22" stroke="{colour}" stroke-width="2"/>')
    return "".join(parts) + f'<text x="520" y="{y:g}">{name}</text>'
