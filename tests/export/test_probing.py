"""The rows of a comparison: what is given, and every strange value of every type."""

from __future__ import annotations

import numpy as np

from shortlist._typing import MISSING_INT, Columns
from shortlist.export.probing import STRANGE, TIMES, UNKNOWN, probe

COLUMNS: Columns = {
    "user": np.array(["u1", "u2", ""], object),
    "time": np.array([5, MISSING_INT, 9]),
    "age": np.array([30.0, np.nan, 40.0]),
    "photo": np.array([[1, 2], [np.nan, np.nan], [3, 4]], np.float32),
    "tags": np.array([["a", "b"], ["", ""], ["c", ""]], object),
    "times": np.array([[5], [MISSING_INT], [7]]),
    "residuals": np.array([[0.5, -0.5], [np.nan, np.nan], [1, 2]]),
}


def test_the_given_rows_come_first_and_are_repeated() -> None:
    rows = probe(COLUMNS)
    for name, column in COLUMNS.items():
        assert len(rows[name]) == 64
        assert rows[name].dtype == column.dtype
        given = rows[name][:3] if column.ndim == 1 else rows[name][:3, : column.shape[1]]
        assert (
            (given == column).all()
            if column.dtype == object
            else np.array_equal(given, column, equal_nan=True)
        )
    assert (rows["user"][3:6] == COLUMNS["user"]).all()


def test_strange_rows_hold_what_is_unknown_missing_and_extreme() -> None:
    strange = {name: column[-STRANGE:] for name, column in probe(COLUMNS).items()}
    assert {UNKNOWN, "", "U1", "u1"} <= set(strange["user"])
    assert {10, MISSING_INT, *TIMES} == set(strange["time"])
    assert {-2_208_988_800, 4_102_444_800} < set(TIMES)
    assert min(TIMES) < -(2**31) and max(TIMES) > 2**31
    assert np.isnan(strange["age"]).any() and strange["age"][0] == 41
    assert np.isnan(strange["photo"]).all(axis=1).any() and np.nanmax(strange["photo"]) == 5
    assert set(TIMES) <= set(strange["times"].ravel())


def test_lists_are_empty_and_longer_than_any_and_as_long_as_one_another() -> None:
    rows = probe(COLUMNS, longest=7)
    lists = {name: rows[name] for name in ("tags", "times", "residuals")}
    assert {column.shape for column in lists.values()} == {(64, 9)}
    for name, column in lists.items():
        there = (
            column == column if name == "residuals" else column != {"tags": "", "times": MISSING_INT}[name]
        )
        assert there[-STRANGE:, 7:].all(axis=1).any()
        assert (~there[-STRANGE:]).all(axis=1).any()
    assert UNKNOWN in rows["tags"]


def test_columns_without_a_known_value_are_probed_too() -> None:
    nothing = {
        "user": np.array([""], object),
        "time": np.array([MISSING_INT]),
        "age": np.array([np.nan]),
        "photo": np.full((1, 2), np.nan, np.float32),
        "tags": np.array([[""]], object),
        "times": np.array([[MISSING_INT]]),
        "residuals": np.array([[np.nan]]),
    }
    with np.errstate(all="raise"):
        assert all(len(column) == 64 for column in probe(nothing, longest=3).values())
