from __future__ import annotations

import json

import polars as pl
import pytest

from shortlist.data.dataset import Dataset, deduplicate_titles, describe, from_tables
from shortlist.errors import DataError


def small() -> Dataset:
    rows = {
        "user_id": ["a", "b", "a", "a"],
        "item_id": [1, 2, 3, 1],
        "rating": [3, 4, 5, 3],
        "timestamp": [0, 86_400, 5, 0],
    }
    films = {"item_id": [3, 2, 1], "title": ["Heat", "Alien", "Heat"], "year": [1995, 1979, 1986]}
    return from_tables(rows, items=films, name="small", licence="none")


def test_users_and_items_cover_the_interactions() -> None:
    data = from_tables(
        {"user_id": ["b", "a"], "item_id": ["y", "x"]},
        users={"user_id": ["a"], "age": [3]},
        items=None,
    )
    assert data.users.rows() == [("a", 3), ("b", None)]
    assert data.items.rows() == [("y",), ("x",)]
    assert small().items["item_id"].to_list() == ["3", "2", "1"]
    assert small().users["user_id"].to_list() == ["a", "b"]


def test_deduplicated_titles_key_items_by_title() -> None:
    data = deduplicate_titles(small())
    assert data.items.columns == ["item_id", "title", "year"]
    assert data.items.rows() == [("Heat", "Heat", 1995), ("Alien", "Alien", 1979)]
    assert data.interactions["item_id"].to_list() == ["Heat", "Alien", "Heat", "Heat"]
    assert data.interactions.drop("item_id").equals(small().interactions.drop("item_id"))


def test_deduplication_needs_titles_but_not_for_every_item() -> None:
    with pytest.raises(DataError, match="no column 'title'"):
        deduplicate_titles(from_tables({"user_id": [1], "item_id": [2]}))
    data = from_tables({"user_id": [1], "item_id": [2]}, items={"item_id": [5], "title": ["Heat"]})
    assert deduplicate_titles(data).items["item_id"].to_list() == ["Heat", "2"]


def test_movielens_has_1664_titles(movielens_100k: Dataset) -> None:
    data = deduplicate_titles(movielens_100k)
    assert data.items.height == movielens_100k.items["title"].n_unique() == 1_664
    assert data.interactions.height == 100_000
    assert set(data.interactions["item_id"]) == set(data.items["item_id"])
    assert describe(data)["repeated_pairs"] == 307


def test_description_counts() -> None:
    facts = describe(small())
    assert (facts["interactions"], facts["users"], facts["items"]) == (4, 2, 3)
    assert facts["sparsity"] == pytest.approx(1 - 3 / 6)
    assert (facts["repeated_pairs"], facts["duplicate_rows"]) == (1, 1)
    assert facts["rows_per_user"]["max"] == 3
    assert facts["rows_per_item"]["median"] == 1
    assert facts["time"] == {"first": "1970-01-01T00:00:00Z", "last": "1970-01-02T00:00:00Z", "days": 1.0}
    assert facts["rating"]["counts"] == {"3": 2, "4": 1, "5": 1}
    assert facts["rating"]["mean"] == 3.75
    json.dumps(facts)


def test_description_without_ratings_or_times() -> None:
    facts = describe(from_tables(pl.DataFrame({"user_id": ["a"], "item_id": ["b"]})))
    assert "rating" not in facts
    assert "time" not in facts
    assert facts["sparsity"] == 0
