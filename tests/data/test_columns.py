from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist._typing import MISSING_INT
from shortlist.data.columns import column_types, to_columns
from shortlist.errors import DataError

FRAME = pl.DataFrame(
    {
        "s": ["a", None],
        "e": pl.Series(["x", None], dtype=pl.Categorical),
        "nothing": [None, None],
        "i": pl.Series([1, None], dtype=pl.Int16),
        "b": [True, None],
        "f": pl.Series([0.5, None], dtype=pl.Float32),
        "day": [dt.date(1970, 1, 2), None],
        "time": [dt.datetime(1970, 1, 1, 0, 0, 1), None],
        "tags": [["a", None, "b"], None],
        "codes": [[3], [4, 5]],
        "v": pl.Series([[1.0, 2.0], None], dtype=pl.List(pl.Float64)),
        "w": pl.Series([None, [1.0, 2.0]], dtype=pl.Array(pl.Float32, 2)),
    }
)


def test_kinds() -> None:
    kinds = column_types(FRAME)
    assert kinds == {
        **dict.fromkeys(["s", "e", "nothing"], "string"),
        **dict.fromkeys(["i", "b", "day", "time"], "int"),
        "f": "float",
        **dict.fromkeys(["tags", "codes"], "strings"),
        **dict.fromkeys(["v", "w"], "vector"),
    }


def test_values_and_missing_values() -> None:
    columns = to_columns(FRAME)
    assert list(columns) == FRAME.columns
    assert columns["s"].tolist() == ["a", ""]
    assert columns["s"].dtype == object
    assert columns["e"].tolist() == ["x", ""]
    assert columns["nothing"].tolist() == ["", ""]
    for name, value in {"i": 1, "b": 1, "day": 86_400, "time": 1}.items():
        assert columns[name].tolist() == [value, MISSING_INT]
        assert columns[name].dtype == np.int64
    assert columns["f"].dtype == np.float64
    np.testing.assert_array_equal(columns["f"], [0.5, np.nan])
    assert columns["tags"].tolist() == [["a", "b"], ["", ""]]
    assert columns["codes"].tolist() == [["3", ""], ["4", "5"]]
    np.testing.assert_array_equal(columns["v"], np.array([[1, 2], [np.nan, np.nan]], np.float32))
    np.testing.assert_array_equal(columns["w"], np.array([[np.nan, np.nan], [1, 2]], np.float32))
    assert columns["v"].dtype == np.float32


@given(st.lists(st.none() | st.lists(st.text("abc", min_size=1, max_size=2), max_size=4), max_size=12))
def test_lists_are_padded_to_the_longest(lists: list[list[str] | None]) -> None:
    out = to_columns(pl.DataFrame({"x": pl.Series(lists, dtype=pl.List(pl.String))}))["x"]
    width = max([1, *(len(x) for x in lists if x)])
    assert out.shape == (len(lists), width)
    assert out.tolist() == [(x or []) + [""] * (width - len(x or [])) for x in lists]


def test_no_rows() -> None:
    columns = to_columns(FRAME.clear(), ["s", "i", "f", "tags", "w"])
    assert [c.shape for c in columns.values()] == [(0,), (0,), (0,), (0, 1), (0, 2)]


def test_vectors_that_are_all_missing_have_no_size() -> None:
    frame = pl.DataFrame({"x": pl.Series([None, None], dtype=pl.List(pl.Float32))})
    assert to_columns(frame)["x"].shape == (2, 0)


def test_errors() -> None:
    with pytest.raises(DataError, match="no column 'tag'") as caught:
        to_columns(FRAME, ["tag"])
    assert "did you mean 'tags'" in caught.value.hint
    with pytest.raises(DataError, match="column 'x', row 1: expected a vector of 2 numbers, got 1"):
        to_columns(pl.DataFrame({"x": [[1.0, 2.0], [3.0]]}))
    with pytest.raises(DataError, match=r"column 'x' has the type Struct"):
        column_types(pl.DataFrame({"x": [{"a": 1}]}))
    with pytest.raises(DataError, match="beyond 64 signed bits"):
        to_columns(pl.DataFrame({"x": pl.Series([2**63], dtype=pl.UInt64)}))
