"""Requests in every form, and the errors of malformed ones."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from shortlist._typing import MISSING_INT
from shortlist.data.columns import to_columns
from shortlist.errors import RequestError
from shortlist.features.fitted import ColumnType
from shortlist.features.requests import (
    UNRATED,
    fill_missing,
    is_missing,
    missing_column,
    read_request,
    take_rows,
)

TYPES: dict[str, ColumnType] = {
    "user_id": "string",
    "timestamp": "int",
    "age": "float",
    "genres": "strings",
    "image": "vector",
}
SIZES = {"image": 2}
ROWS = [
    {"user_id": "42", "timestamp": 7, "age": 3.5, "genres": ["Drama", "War"], "image": [1.0, 2.0]},
    {"user_id": 7, "timestamp": None, "age": None, "genres": None, "image": None},
]
TABLE = {name: [row[name] for row in ROWS] for name in ROWS[0]}


def read(request: Any) -> dict[str, list[Any]]:
    columns = read_request(request, TYPES, sizes=SIZES)
    return {name: column.tolist() for name, column in columns.items()}


EXPECTED = {
    "user_id": ["42", "7"],
    "timestamp": [7, MISSING_INT],
    "age": [3.5, pytest.approx(float("nan"), nan_ok=True)],
    "genres": [["Drama", "War"], ["", ""]],
    "image": [[1.0, 2.0], pytest.approx([float("nan")] * 2, nan_ok=True)],
}


@pytest.mark.parametrize(
    "request_",
    [ROWS, TABLE, pd.DataFrame(ROWS), pl.DataFrame({**TABLE, "user_id": ["42", "7"]}), tuple(ROWS)],
    ids=["rows", "table", "pandas", "polars", "tuple"],
)
def test_every_form_reads_the_same(request_: Any) -> None:
    assert read(request_) == EXPECTED


@pytest.mark.parametrize(
    ("request_", "ids"),
    [
        ("42", ["42"]),
        (42, ["42"]),
        (["42", 7], ["42", "7"]),
        (np.array([42, 7]), ["42", "7"]),
        ({"user_id": 42}, ["42"]),
    ],
)
def test_bare_ids(request_: Any, ids: list[str]) -> None:
    assert read(request_) == {"user_id": ids}


def test_one_row_may_hold_lists() -> None:
    assert read({"user_id": "1", "genres": ["War"], "image": [1, 2]})["genres"] == [["War"]]
    assert read({"genres": ["War", "Drama"]})["genres"] == [["War", "Drama"]]
    assert read({"genres": [["War"], ["Drama"]]})["genres"] == [["War"], ["Drama"]]


def test_what_has_one_value_a_row_tells_whether_a_dict_is_a_table() -> None:
    assert read({"user_id": "1", "genres": [None, None]})["genres"] == [[""]]
    assert read({"user_id": ["1", "2"], "genres": [None, None]})["genres"] == [[""], [""]]
    assert read({"user_id": ["1", "2"], "genres": [None, ["War"]]})["genres"] == [[""], ["War"]]
    assert read({"genres": [None, ["War"]]})["genres"] == [[""], ["War"]]
    assert read({"genres": [None]})["genres"] == [[""]]


def test_a_misspelt_list_of_one_row_is_an_unknown_column() -> None:
    with pytest.raises(RequestError, match="unknown column 'genre'"):
        read({"user_id": "1", "genre": ["War"]})


def test_lists_that_must_be_whole() -> None:
    types: dict[str, ColumnType] = {"genres": "strings", "years": "ints", "marks": "floats"}
    for name, value in (("genres", ["a", None]), ("genres", ["a", ""]), ("years", [1, None])):
        assert len(read_request({name: [value]}, types)[name]) == 1
        with pytest.raises(RequestError, match=f"row 1, column '{name}', index 1: expected") as caught:
            read_request({name: [[], value]}, types, whole=[name])
        assert caught.value.hint == "leave out what is not known"
    for gone in (float("nan"), pd.NA):
        with pytest.raises(RequestError, match="row 0, column 'marks', index 0: expected a finite number"):
            read_request({"marks": [gone, 1]}, types, whole=types)
    assert read_request({"marks": [1, None]}, types, whole=types)["marks"].tolist() == [[1, UNRATED]]
    assert read_request({"marks": [None, [1, 2]]}, types, whole=types)["marks"].shape == (2, 2)
    with pytest.raises(RequestError, match="row 0, column 'genres', index 0: expected text"):
        read_request([{"genres": np.array([["a", "b"], ["c", "d"]])}], types, whole=types)


def test_numbers_and_times() -> None:
    times = [
        7.0,
        True,
        date(1970, 1, 2),
        datetime(1970, 1, 1, 0, 1, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 2),
        pd.NaT,
    ]
    assert read({"timestamp": times})["timestamp"] == [7, 1, 86400, 60, 120, MISSING_INT]
    assert read({"age": np.array([1, 2])}) == {"age": [1.0, 2.0]}
    assert read({"timestamp": np.array([1, 2], np.int32)}) == {"timestamp": [1, 2]}
    assert read({"timestamp": np.array(["1970-01-02"], "datetime64[ns]")}) == {"timestamp": [86400]}


def test_rows_may_leave_columns_out() -> None:
    assert read([{"user_id": "1"}, {"user_id": "2", "timestamp": 5}])["timestamp"] == [MISSING_INT, 5]


def test_canonical_forms_are_those_of_tables() -> None:
    frame = pl.DataFrame({**TABLE, "user_id": ["42", "7"]})
    for name, column in to_columns(frame).items():
        got = read_request(frame, TYPES, sizes=SIZES)[name]
        assert got.dtype == column.dtype
        np.testing.assert_array_equal(got, column)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"user_id": ["1", True]}, r"row 1, column 'user_id': expected text or a whole number, got True"),
        ({"user_id": 4.5}, r"row 0, column 'user_id': expected text"),
        ({"user_id": "\ud800"}, r"row 0, column 'user_id': expected text"),
        ([{"timestamp": 1}, {"timestamp": "x"}], "row 1, column 'timestamp': expected a whole number"),
        ({"timestamp": 1.5}, r"expected a whole number .*, got 1.5 \(float\)"),
        ({"timestamp": 2**63}, "expected a whole number"),
        ({"age": "old"}, "expected a finite number, got 'old'"),
        ({"age": [1.0, float("inf")]}, "row 1, column 'age': expected a finite number, got inf"),
        ({"age": np.array([1, np.inf])[1:]}, "row 0, column 'age': expected a finite number"),
        ({"user_id": "1", "genres": "War"}, "column 'genres': expected a list of texts, got 'War'"),
        ({"user_id": "1", "genres": [1.5]}, "row 0, column 'genres', index 0: expected text or a"),
        ({"user_id": "1", "genres": [["War"], ["Drama"]]}, r"'genres', index 0: expected .* got \['War'\]"),
        ({"user_id": ["1", "2"], "genres": [["War"], [None, 1.5]]}, "row 1, column 'genres', index 1: "),
        ({"user_id": "1", "image": [[1, 2], [3, 4]]}, r"row 0, column 'image': .* got shape \(2, 2\)"),
        ({"user_id": "1", "image": [1, 2, 3]}, r"column 'image': expected a vector of 2 numbers, got"),
        ({"user_id": "1", "image": "x"}, "column 'image': expected a list of numbers"),
        ({"user": "1"}, "unknown column 'user' in the request"),
        ({"user_id": ["1", "2"], "timestamp": [1]}, "differ in length"),
        ({"user_id": ["1", "2"], "timestamp": 1}, "'timestamp' of the request is 1, but other columns are"),
        ([], "no rows"),
        ({}, "no rows"),
        ({"user_id": []}, "no rows"),
        (pl.DataFrame({"user_id": []}), "no rows"),
        (["1", {"user_id": "1"}], "row 1 of the request .* mixed forms"),
        (None, "cannot read a request of type NoneType"),
    ],
)  # fmt: skip
def test_malformed_requests_name_the_place(request_: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        read(request_)


def test_a_misspelt_column_gets_the_nearest_name() -> None:
    with pytest.raises(RequestError) as caught:
        read({"user_idd": "1"})
    assert "'user_id'" in caught.value.hint


@pytest.mark.parametrize("name", TYPES)
def test_missing_rows_are_filled_from_another_column(name: str) -> None:
    given = read_request(ROWS, TYPES, sizes=SIZES)[name]
    if name == "user_id":
        given[1] = ""
    nothing = missing_column(TYPES[name], 2, 2)
    assert nothing.dtype == given.dtype
    assert is_missing(given).tolist() == [False, True]
    assert is_missing(nothing).all()
    swapped = take_rows(given, np.array([1, 0]))
    full = fill_missing(given, swapped)
    np.testing.assert_array_equal(full[0], given[0])
    np.testing.assert_array_equal(full[1], given[0])
    np.testing.assert_array_equal(is_missing(take_rows(given, np.array([0, -1, 1]))), [False, True, True])
    assert is_missing(take_rows(given[:0], np.array([-1]))).all()
