"""Seconds of all rows from those of few, on a machine whose times are known."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from shortlist.recipes import timing


class Machine:
    """Calls that take what it is told they take: so long in any case, so long a row, and the first of a size
    more by what is compiled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fixed: float, row: float, compiled: float) -> None:
        self.fixed, self.row, self.compiled, self.clock = fixed, row, compiled, 0.0
        self.sizes: list[int] = []
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.clock)

    def make(self, part: pl.DataFrame) -> Callable[[], None]:
        return lambda: self.call(len(part))

    def call(self, size: int) -> None:
        self.clock += self.fixed + self.row * size + self.compiled * (size not in self.sizes)
        self.sizes.append(size)


@pytest.mark.parametrize(
    ("num_items", "fixed", "row", "compiled"),
    [
        (1_000, 0.01, 2e-5, 1.0),
        (200_000, 2.0, 0.006, 0.0),
        (200_000, 5.0, 0.001, 2.0),
        (200_000, 0.3, 0.2, 1),
    ],
)
def test_what_every_call_takes_is_told_from_what_a_row_takes(
    monkeypatch: pytest.MonkeyPatch, num_items: int, fixed: float, row: float, compiled: float
) -> None:
    """Of 200 rows of 20,000, five seconds that all items take are not five hundred of all rows."""
    rows = pl.DataFrame({"user_id": [f"u{n}" for n in range(20_000)]})
    machine = Machine(monkeypatch, fixed, row, compiled)
    _, seconds = timing.timed_on_all(machine.make, rows, num_items)
    took = machine.clock
    assert seconds == pytest.approx(fixed + row * len(rows), rel=0.25)
    few = machine.sizes[0]
    assert took < 9 * (fixed + row * few + compiled) + 4 * timing.LONG, "an estimate is short"


def test_no_more_is_measured_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = pl.DataFrame({"user_id": [f"u{n}" for n in range(300)]})
    machine = Machine(monkeypatch, 1.0, 0.01, 0.5)
    assert timing.timed_on_all(machine.make, rows, 1_000)[1] == pytest.approx(4.0)
    assert machine.sizes == [250, 250, 300, 300]
