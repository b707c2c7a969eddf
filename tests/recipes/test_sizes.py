"""What the training rows say, as sizes are chosen by."""

from __future__ import annotations

import polars as pl
import pytest

from shortlist.data.splits import Split
from shortlist.recipes.sizes import Facts


def split_of(counts: list[int]) -> Split:
    """Users with so many training rows each."""
    users = [f"u{k}" for k, count in enumerate(counts) for _ in range(count)]
    items = [f"i{k}" for count in counts for k in range(count)]
    rows = pl.DataFrame({"user_id": users, "item_id": items})
    people, things = (rows.select(name).unique(maintain_order=True) for name in rows.columns)
    return Split(rows, rows[:0], rows[:0], people, things, "by hand")


@pytest.mark.parametrize(
    ("counts", "typical"),
    [([1, 2, 3, 50, 100], 3.0), ([100, 1, 1, 1, 1, 1, 90], 1.0), ([2, 4, 6, 8], 4.0), ([7], 7.0)],
)
def test_the_typical_user_is_the_median_one(counts: list[int], typical: float) -> None:
    """Of an even number of users the lower of the two in the middle."""
    facts = Facts.of(split_of(counts))
    assert facts.typical == typical
    assert (facts.rows, facts.users, facts.items) == (sum(counts), len(counts), max(counts))
