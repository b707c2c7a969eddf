"""The guide's figures are those of the file the benchmark wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
RESULTS: dict[str, Any] = json.loads((ROOT / "benchmarks/results/events.json").read_text(encoding="utf-8"))
GUIDE = (ROOT / "docs/guides/events.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one-appender", "one, an event at a time"),
        ("32-appenders", "32, an event at a time"),
        ("32-appenders-of-100", "32, 100 events at a time"),
        ("32-appenders-in-2-processes", "32 in two processes, an event at a time"),
    ],
)
def test_the_table_is_that_of_the_run(kind: str, name: str, said: str) -> None:
    shown = {"sqlite": "SQLite", "postgres": "PostgreSQL"}[kind]
    one = RESULTS[kind][name]
    row = f"| {shown} | {said} | {one['events_per_s']:,} | {one['p50_ms']:.1f} | {one['p99_ms']:.1f} |"
    assert row in GUIDE, row


def test_the_floor_is_that_of_the_run() -> None:
    for floor in (RESULTS["floor"], RESULTS["floor_again"]):
        assert f"{floor['p50_ms']:.1f} ms (p99 {floor['p99_ms']:.1f})" in GUIDE
