"""New tables beside old ones: nothing that is not said is lost, types stay, times keep their unit."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from shortlist.api.keeping import canonical
from shortlist.api.merging import in_types, merged, require_same_clock
from shortlist.errors import DataError

OLD = canonical(
    pl.DataFrame(
        {
            "item_id": ["a", "b", "c"],
            "kind": ["k0", "k1", None],
            "year": [1990, None, 1992],
            "price": [1.5, 2.0, None],
            "tags": [["x"], [], ["y", "z"]],
        }
    )
)


def test_columns_that_are_not_given_keep_their_values() -> None:
    new = pl.DataFrame({"item_id": ["d", "a"], "kind": ["k9", "k2"]})
    found = merged(OLD, new, "item_id", "items")
    assert (found.changed, found.columns) == (1, ("kind",))
    assert found.table.columns == OLD.columns
    rows = {row["item_id"]: row for row in found.table.to_dicts()}
    assert list(rows) == ["a", "b", "c", "d"]
    assert rows["a"] == {"item_id": "a", "kind": "k2", "year": 1990, "price": 1.5, "tags": ["x"]}
    assert rows["b"] == OLD.to_dicts()[1]
    assert rows["d"] == {"item_id": "d", "kind": "k9", "year": None, "price": None, "tags": None}


def test_what_is_said_again_or_not_at_all_changes_nothing() -> None:
    assert merged(OLD, OLD, "item_id", "items").changed == 0
    silent = canonical(
        pl.DataFrame({"item_id": ["a"], "tags": [None]}, schema_overrides={"tags": pl.List(str)})
    )
    found = merged(OLD, silent, "item_id", "items")
    assert found.changed == 0 and found.table.equals(OLD)
    assert merged(OLD, OLD.select("item_id"), "item_id", "items").table.equals(OLD)


@pytest.mark.parametrize(
    ("years", "expected"),
    [
        ([None, None], [None, None]),
        ([2020.0, float("nan")], [2020, None]),
        (["", None], None),
        ([1.5, 2], None),
    ],
)
def test_types_stay_or_the_column_is_refused(years: list[Any], expected: list[Any] | None) -> None:
    new = canonical(pl.DataFrame({"item_id": ["d", "e"], "year": years}, strict=False))
    if expected is None and any(isinstance(year, float) for year in years):
        with pytest.raises(DataError, match="'year' of the new items holds float, training had int"):
            merged(OLD, new, "item_id", "items")
        return
    table = merged(OLD, new, "item_id", "items").table
    assert table.schema == OLD.schema
    assert table["year"].to_list() == [1990, None, 1992, *(expected or [None, None])]


def test_texts_for_numbers_and_integers_for_floats() -> None:
    with pytest.raises(DataError, match="'year' of the new events holds string, training had int"):
        in_types(pl.DataFrame({"year": ["2020"]}), OLD, "the new events")
    assert in_types(pl.DataFrame({"price": [3]}), OLD, "x")["price"].to_list() == [3.0]


def test_times_in_another_unit_are_refused() -> None:
    old = pl.DataFrame({"timestamp": [1_700_000_000, 1_700_086_400]})
    with pytest.raises(DataError, match=r"1970-01-20, those of training begin 2023-11-14"):
        require_same_clock(old.with_columns(pl.col("timestamp") // 1000), old, "the new events")
    require_same_clock(old.with_columns(pl.col("timestamp") - 86_400 * 3_650), old, "the new events")
    require_same_clock(old, old.with_columns(pl.col("timestamp") // 1000), "the new events")
    require_same_clock(old.with_columns(timestamp=pl.Series([0, 1_700_000_000])), old, "the new events")
    require_same_clock(old.clear(), old, "x")
    require_same_clock(old.drop("timestamp"), old, "x")
