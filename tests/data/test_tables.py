from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from shortlist.data import tables
from shortlist.errors import DataError

PAIR: dict[str, Any] = {"user_id": [1, 2], "item_id": ["a", "b"]}


def test_roles_types_and_order() -> None:
    source = {"device": ["tv", None], "when": [5, 4], "stars": [3, 4], "movie": [10, 11], "who": ["x", "y"]}
    table = tables.interactions(source, user="who", item="movie", rating="stars", timestamp="when")
    wanted = {
        "user_id": pl.String,
        "item_id": pl.String,
        "rating": pl.Float64,
        "timestamp": pl.Int64,
        "device": pl.String,
    }
    assert dict(table.schema) == wanted
    assert table.row(0) == ("x", "10", 3.0, 5, "tv")


def test_ids_of_a_csv_keep_their_leading_zeros(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id,rating\n007,1,3\n8,01,4\n")
    table = tables.interactions(tmp_path / "a.csv")
    assert table.rows() == [("007", "1", 3.0), ("8", "01", 4.0)]


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        ([dt.datetime(2020, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 59, 500_000)], [1_577_836_800, -1]),
        ([dt.date(2020, 1, 1), dt.date(1970, 1, 1)], [1_577_836_800, 0]),
        (["2020-01-01T00:00:00Z", "2020-01-01"], [1_577_836_800, 1_577_836_800]),
        (["2020-01-01 02:00:00+02:00", "2020-01-01 00:00:00.25"], [1_577_836_800, 1_577_836_800]),
        (["881250949", "0"], [881_250_949, 0]),
        ([881_250_949.0, 1.0], [881_250_949, 1]),
    ],
)
def test_times_become_seconds(times: list[Any], wanted: list[int]) -> None:
    table = tables.interactions({**PAIR, "timestamp": times})
    assert table["timestamp"].to_list() == wanted


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"user_id": [1, None]}, "column 'user_id', row 1: expected an id, got None"),
        ({"user_id": [1.0, float("nan")]}, "column 'user_id', row 1: expected an id, got nan"),
        ({"user_id": [1.0, 2.0]}, r"row 0: expected a string or an integer, got 1.0 \(Float64\)"),
        ({"item_id": ["a", ""]}, "column 'item_id', row 1: expected an id, got ''"),
        ({"item_id": [None, None]}, "column 'item_id', row 0: .* got None .and 1 more such rows"),
        ({"rating": [3, float("nan")]}, "column 'rating', row 1: expected a finite number, got nan"),
        ({"rating": [float("inf"), 3]}, "row 0: expected a finite number, got inf"),
        ({"rating": ["3", "three"]}, "column 'rating', row 1: expected a finite number, got 'three'"),
        ({"rating": [3, None]}, "column 'rating', row 1: .* got None"),
        ({"rating": [[3], [4]]}, "column 'rating', row 0: expected a number"),
        ({"weight": [1, -2]}, "column 'weight', row 1: expected a weight of at least 0, got -2"),
        ({"timestamp": [1, None]}, "column 'timestamp', row 1: expected a time, got None"),
        ({"timestamp": [1.5, 2.0]}, "row 0: expected whole seconds since 1970, got 1.5"),
        ({"timestamp": [1.0, float("nan")]}, "row 1: expected whole seconds since 1970, got nan"),
        ({"timestamp": [0, 881_250_949_000]}, "row 1: expected seconds since 1970, got 881250949000"),
        ({"timestamp": ["2020-01-01", "soon"]}, "row 1: expected a time .*, got 'soon'"),
        ({"timestamp": [True, False]}, "row 0: expected a time"),
        ({"userid": [1, 2], "item_id": [1, 2], "user_id": None}, "no column 'user_id'"),
    ],
)
def test_bad_values_are_named_with_row_and_value(columns: dict[str, Any], words: str) -> None:
    source = {name: values for name, values in {**PAIR, **columns}.items() if values is not None}
    with pytest.raises(DataError, match=words):
        tables.interactions(source)


@pytest.mark.parametrize("text", ["27.05.2024", "2024-05-27T10:00:00Z"])
def test_a_stated_unit_of_numbers_is_not_passed_over(text: str) -> None:
    with pytest.raises(
        DataError, match=f"'timestamp', row 0: expected a time as a number .ms., got '{text}'"
    ) as error:
        tables.interactions({**PAIR, "timestamp": [text] * 2}, time_unit="ms")
    assert "time_unit" in error.value.hint


def test_decimal_commas_are_named() -> None:
    with pytest.raises(DataError, match="row 0: expected a finite number, got '3,5'") as caught:
        tables.interactions({**PAIR, "rating": ["3,5", "4,0"]})
    assert "decimal points" in caught.value.hint


def test_wrong_type_in_a_csv_has_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id,rating\n" + "1,2,3\n" * 500 + "1,2,four\n")
    with pytest.raises(DataError, match=r"a\.csv: column 'rating', row 500: .* got 'four'"):
        tables.interactions(tmp_path / "a.csv")


def test_misspelt_columns_suggest_the_nearest() -> None:
    with pytest.raises(DataError, match="no column 'ratings'") as caught:
        tables.interactions({**PAIR, "rating": [1, 2]}, rating="ratings")
    assert "did you mean 'rating'" in caught.value.hint


def test_roles_must_not_collide() -> None:
    with pytest.raises(DataError, match="'movie' is to be item_id, but a column 'item_id' exists too"):
        tables.interactions({**PAIR, "movie": [1, 2]}, item="movie")
    with pytest.raises(DataError, match="two roles"):
        tables.interactions({"item_id": [1, 2]}, user="item_id")


def test_one_user_one_item_equal_ratings_and_duplicates_are_kept() -> None:
    table = tables.interactions({"user_id": [1] * 3, "item_id": [1] * 3, "rating": [4] * 3})
    assert table.height == 3


def test_entities_come_once() -> None:
    users = tables.users({"age": [3, 4], "who": [7, 8]}, user="who")
    assert users.columns == ["user_id", "age"]
    with pytest.raises(DataError, match="column 'item_id', row 2: expected each id once, got 'a'"):
        tables.items({"item_id": ["a", "b", "a"]})
    with pytest.raises(DataError, match="row 0: expected an id, got None"):
        tables.items({"item_id": [None, "b", "a"]})


def test_joining_users_keeps_order_and_unknown_users() -> None:
    rows = tables.interactions({"user_id": ["b", "x", "a", "b"], "item_id": [1, 2, 3, 4]})
    people = tables.users({"user_id": ["a", "b"], "age": [30, 40]})
    joined = tables.join_users(rows, people)
    assert joined["age"].to_list() == [40, None, 30, 40]
    assert_frame_equal(joined.drop("age"), rows)
    with pytest.raises(DataError, match="both have 'age'"):
        tables.join_users(joined, people)
