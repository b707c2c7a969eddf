"""Encoders that grow: what was known keeps its row, what is new comes after it, the rest stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError
from shortlist.features.encoder import Encoder
from shortlist.features.growth import extended, grown
from shortlist.specs.features import Bucket, Category, Id, Normalize, Tags, Text
from shortlist.specs.models import Tower, TwoTower

MODEL = TwoTower(
    Tower((Id("user_id", 4), Bucket("timestamp", 3, 4), Normalize("age")), out=4),
    Tower(
        (Id("item_id", 4), Category("studio", 4, min_count=2), Tags("genres", 4), Text("title", 9, 4)), out=4
    ),
)


def text(*values: str) -> Any:
    return np.array([*values, None], object)[:-1]


QUERIES = {
    "user_id": text("a", "b", "b"),
    "timestamp": np.array([1, 5, 9]),
    "age": np.array([20.0, 30.0, 40.0]),
}
ITEMS = {
    "item_id": text("x", "y", "z"),
    "studio": text("one", "one", "two"),
    "genres": np.array([["war", ""], ["war", "love"], ["love", ""]], object),
    "title": text("A War", "War and Love", "Love"),
    "user_id": text("a", "b"),
}
MORE_QUERIES = {
    "user_id": text("a", "b", "b", "c", "a0"),
    "timestamp": np.array([1, 5, 9, 50, 60]),
    "age": np.array([20.0, 30.0, 40.0, 99.0, 1.0]),
}
MORE_ITEMS = {
    "item_id": text("x", "y", "z", "a"),
    "studio": text("one", "one", "two", "two"),
    "genres": np.array([["war", ""], ["war", "love"], ["love", ""], ["art", "war"]], object),
    "title": text("A War", "War and Love", "Love", "Something Else"),
    "user_id": text("a", "b", "c"),
}


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.fit(MODEL, QUERIES, ITEMS)


def test_the_same_rows_give_the_same_encoder(encoder: Encoder) -> None:
    assert grown(encoder, QUERIES, ITEMS).content_hash == encoder.content_hash


def test_known_values_keep_their_rows_and_new_ones_come_after(encoder: Encoder) -> None:
    larger = grown(encoder, MORE_QUERIES, MORE_ITEMS)
    assert larger.sizes["query/user_id.id"] == encoder.sizes["query/user_id.id"] + 2
    before, after = encoder.query.encode(QUERIES), larger.query.encode(QUERIES)
    assert all(np.array_equal(before[key], after[key]) for key in before)
    before, after = encoder.candidate.encode(ITEMS), larger.candidate.encode(ITEMS)
    # "two" had too few rows and was unknown; it has a row of its own now, after those there were
    assert before["studio.category"].tolist() == [1, 1, 0]
    assert after["studio.category"].tolist() == [1, 1, 2]
    assert all(np.array_equal(before[key], after[key]) for key in before if key != "studio.category")
    new = larger.candidate.encode({name: column[3:] for name, column in MORE_ITEMS.items()})
    assert new["item_id.id"][0] == encoder.sizes["candidate/item_id.id"]
    assert new["genres.tags"][0, 0] == encoder.sizes["candidate/genres.tags"]


def test_edges_means_and_words_stay(encoder: Encoder) -> None:
    larger = grown(encoder, MORE_QUERIES, MORE_ITEMS)
    for key in ("query/timestamp.bucket", "candidate/title.text"):
        assert larger.sizes[key] == encoder.sizes[key]
    assert larger.query.features[2] == encoder.query.features[2]


def test_a_column_of_another_type_is_refused(encoder: Encoder) -> None:
    wrong = MORE_QUERIES | {"age": text("20", "30", "40", "99", "1")}
    with pytest.raises(DataError, match="column 'age' holds string, it held float"):
        grown(encoder, wrong, MORE_ITEMS)


@settings(max_examples=20)
@given(st.lists(st.text("abc", min_size=1)), st.lists(st.text("abc", min_size=1)))
def test_a_vocabulary_that_grows_keeps_every_slot(old: list[str], new: list[str]) -> None:
    known, fresh = Vocabulary.fit(text(*old)), Vocabulary.fit(text(*old, *new))
    larger = extended(known, fresh)
    assert larger.values[: len(known)] == known.values
    assert set(larger.values) == {*old, *new}
    counted = dict(zip(fresh.values, fresh.counts[1:].tolist(), strict=True))
    assert larger.counts[1:].tolist() == [counted[value] for value in larger.values]
    assert larger.counts.sum() == fresh.counts.sum()
