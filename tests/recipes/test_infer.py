"""What is inferred from tables of every shape: a model that trains, a reason each, never from test rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

import shortlist as sl
from shortlist.api.preparing import prepare
from shortlist.data.dataset import Dataset, from_tables
from shortlist.data.splits import Split
from shortlist.errors import DataError
from shortlist.recipes.infer import Inferred, infer
from shortlist.recipes.inputs import Shape, choose
from shortlist.specs.features import Bag, Bucket, Category, History, Id, Normalize, Tags, Text, Vector
from shortlist.specs.models import MultiTask, Ranker, TwoTower
from shortlist.specs.recipe import Goal

ROWS, USERS, ITEMS = 900, 60, 40


def events(**columns: Any) -> pl.DataFrame:
    """A row a pair, in two camps; further columns are made from the numbers (users, items, rng)."""
    rng = np.random.default_rng(3)
    users = rng.integers(0, USERS, ROWS)
    items = (rng.integers(0, ITEMS // 2, ROWS) * 2 + (users + (rng.random(ROWS) < 0.1)) % 2) % ITEMS
    plain: dict[str, Any] = {"user_id": [f"u{u}" for u in users], "item_id": [f"i{i}" for i in items]}
    return pl.DataFrame(plain | {name: make(users, items, rng) for name, make in columns.items()})


def stars(users: Any, items: Any, rng: Any) -> Any:
    return np.clip(3 + users % 2 + rng.integers(-1, 2, len(users)), 1, 5).astype(float)


def times(users: Any, items: Any, rng: Any) -> Any:
    return rng.integers(10**9, 10**9 + 10**7, len(users))


def item_table() -> pl.DataFrame:
    """A column of every kind."""
    rng = np.random.default_rng(4)
    every = range(ITEMS)
    return pl.DataFrame(
        {
            "item_id": [f"i{i}" for i in every],
            "title": [f"The {['red', 'blue', 'green'][i % 3]} thing number {i}" for i in every],
            "brand": [f"b{i % 6}" for i in every],
            "sku": [f"x{i}" for i in every],
            "price": rng.random(ITEMS) * 100,
            "colours": [i % 4 for i in every],
            "country": ["FR"] * ITEMS,
            "tags": [["a", "b", "c"][: 1 + i % 3] for i in every],
            "picture": [[float(i), 1.0] for i in every],
            "rarely": [None] * (ITEMS - 1) + ["x"],
            "gone": pl.Series([None] * ITEMS, dtype=pl.Float64),
            "box": [{"w": i} for i in every],
            "in#valid": [i % 2 for i in every],
        }
    )


def user_table() -> pl.DataFrame:
    every = range(USERS)
    return pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in every],
            "age": [20 + u for u in every],
            "zip": [f"z{u % 9 if u % 2 else u}" for u in every],
            "phone": [f"{u:09d}" for u in every],
            "member": [u % 2 == 0 for u in every],
        }
    )


SHAPES: dict[str, Any] = {
    "implicit": lambda: from_tables(events()),
    "implicit with times": lambda: from_tables(events(timestamp=times)),
    "ratings": lambda: from_tables(events(rating=stars)),
    "ratings with times": lambda: from_tables(events(rating=stars, timestamp=times)),
    "everything": lambda: from_tables(
        events(
            rating=stars,
            timestamp=times,
            weekend=lambda u, i, rng: u % 2,
            weight=lambda u, i, rng: 1.0 + u % 2,
        ),
        users=user_table(),
        items=item_table(),
    ),
    "one rating and one second": lambda: from_tables(
        events(rating=lambda u, i, rng: 4.0, timestamp=lambda u, i, rng: 10**9)
    ),
    "few rows": lambda: from_tables(events(rating=stars, timestamp=times).head(12)),
    "long texts": lambda: from_tables(
        events(rating=stars),
        items=pl.DataFrame(
            {"item_id": [f"i{i}" for i in range(ITEMS)], "story": [f"word{i} " * 5_000 for i in range(ITEMS)]}
        ),
    ),
}


def split_of(data: Dataset) -> Split:
    return sl.splits.random(data, test=0.2, validation=0.2, seed=1)


def features(found: Inferred, side: str) -> dict[str, Any]:
    return {f.column: f for f in found.model.features(side)}


@pytest.mark.parametrize("goal", ["retrieval", "rating", "two-stage"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_a_model_that_prepares(shape: str, goal: Goal) -> None:
    split = split_of(SHAPES[shape]())
    rated = "rating" in split.train.columns and split.train["rating"].n_unique() > 1
    if goal == "rating" and not rated:
        with pytest.raises(DataError, match="no ratings to predict"):
            infer(split, goal)
        return
    found = infer(split, goal)
    kind = Ranker if goal == "rating" else MultiTask if goal == "two-stage" and rated else TwoTower
    assert type(found.model) is kind
    timed = "timestamp" in split.train.columns and split.train["timestamp"].n_unique() > 1
    assert found.model.sees_future != timed
    prepared = prepare(found.model, split)
    assert len(prepared.examples) == split.train.height
    assert infer(split, goal) == found
    assert type(found.model).from_toml(found.model.to_toml()) == found.model


@pytest.mark.parametrize("shape", ["implicit", pytest.param("everything", marks=pytest.mark.slow)])
def test_what_was_inferred_learns(shape: str) -> None:
    split = split_of(SHAPES[shape]())
    found = infer(split)
    assert found.training.members == 3
    alone = msgspec.structs.replace(found.training, members=1)
    fitted = sl.fit(found.model, split, training=alone, epochs=6)
    # who knows the camps has 10 of 20 items right, in any order: NDCG about 0.23; who does not, half of it
    assert max(fitted.history["validation ndcg@10"]) > 0.17
    assert set(fitted.prepared.examples.labels) == ({"rating"} if shape == "everything" else set())


def test_columns_become_the_features_they_look_like() -> None:
    found = infer(split_of(SHAPES["everything"]()), "rating")
    items, users = features(found, "candidate"), features(found, "query")
    kinds = {
        "title": Text,
        "brand": Category,
        "price": Bucket,
        "colours": Category,
        "tags": Tags,
        "picture": Vector,
        "box.w": Bucket,
    }
    assert {name: type(f) for name, f in items.items()} == {"item_id": Id} | kinds
    assert {"user_id", "age", "zip", "member", "weekend"} <= set(users)
    assert isinstance(users["age"], Bucket) and users["age"].method == "quantile"
    assert "phone" not in users
    # a value of "zip" must stand for three users, each of about 10 rows
    assert users["zip"].min_count >= 28


def test_dates_as_texts_are_left_out_and_dates_are_numbers() -> None:
    days = pl.Series("day", np.arange("2019-01-01", "2019-04-01", dtype="datetime64[D]"))
    texts = days.cast(pl.String).rename("text")
    choices = choose(pl.DataFrame([days, texts, pl.Series("stray", ["soon", *texts[1:]])]), Shape(8))
    assert [type(choice.feature) for choice in choices] == [Bucket, type(None), type(None)]
    assert "seconds since 1970" in choices[1].reason


def test_there_is_a_reason_for_every_column() -> None:
    split = split_of(SHAPES["everything"]())
    said = infer(split).reasons
    for name in split.items.columns[1:]:
        assert sum(reason.startswith(f"items.{name}: ") for reason in said) == 1, name
    for name in split.users.columns[1:]:
        assert sum(reason.startswith(f"users.{name}: ") for reason in said) == 1, name
    told = {reason.partition(":")[0]: reason for reason in said}
    assert "every row says 'FR'" in told["items.country"]
    assert "tell rows apart" in told["items.sku"]
    assert "only 1 of" in told["items.rarely"] or "only 0 of" in told["items.rarely"]
    assert all(
        "left out" in told[f"items.{name}"] for name in ("country", "sku", "rarely", "gone", "in#valid")
    )


def test_times_make_a_history_that_looks_back_only() -> None:
    timed, timeless = (infer(split_of(SHAPES[shape]())) for shape in ("ratings with times", "ratings"))
    kinds = [{type(f) for f in found.model.features("query")} for found in (timed, timeless)]
    assert History in kinds[0] and History not in kinds[1]
    assert all(Bag in k for k in kinds)
    assert "past_count" in features(timed, "query") and "past_count" not in features(timeless, "query")
    assert (timed.model.sees_future, timeless.model.sees_future) == (False, True)


def test_retrieval_does_not_read_what_the_row_says_of_itself() -> None:
    """It may be known only once the item is chosen: a price paid, a review."""
    split = split_of(SHAPES["everything"]())
    assert "weekend" not in {f.column for f in infer(split, "retrieval").model.features("query")}
    joint = infer(split).model
    assert "weekend" not in {f.column for f in joint.query.features}
    assert "weekend" in {f.column for head in joint.heads for f in head.own["query"]}


def test_test_rows_are_not_looked_at() -> None:
    data = SHAPES["everything"]()
    split = split_of(data)
    rng = np.random.default_rng(0)
    found = infer(split)
    others = split.test[rng.permutation(split.test.height)].with_columns(
        rating=pl.lit(1.0), timestamp=pl.lit(0, dtype=pl.Int64), weekend=pl.lit(7), item_id=pl.lit("i0")
    )
    assert infer(replace(split, test=others)) == found
    assert infer(replace(split, test=split.test.clear())) == found
    # nor at items and users that training rows do not have
    items = pl.concat(
        [split.items, split.items.head(1).with_columns(item_id=pl.lit("new"), brand=pl.lit("zzz"))]
    )
    assert infer(replace(split, items=items)) == found
    # of validation rows only whether there are any
    fewer = replace(split, validation=split.validation.head(1))
    assert infer(fewer) == found
    without = infer(replace(split, validation=split.validation.clear()))
    assert (without.model, without.training.patience) == (found.model, 0)


def test_sizes_follow_the_rows() -> None:
    small, large = (split_of(sl.datasets.synthetic(num_interactions=n, seed=1)[0]) for n in (1_000, 40_000))
    few, many = infer(small), infer(large)
    assert few.training.epochs > many.training.epochs
    assert few.training.batch_size < many.training.batch_size
    dims = [f.model.candidate.features[0].dim for f in (few, many)]  # type: ignore[union-attr]
    assert dims[0] < dims[1]
    assert infer(small, seed=7).training.seed == 7


def test_without_training_rows_there_is_nothing_to_infer_from() -> None:
    split = split_of(SHAPES["implicit"]())
    with pytest.raises(DataError, match="no training rows"):
        infer(replace(split, train=split.train.clear()))


def test_a_users_column_that_rows_have_too_is_not_read_twice() -> None:
    data = from_tables(events(age=lambda u, i, rng: u), users=user_table())
    found = infer(split_of(data), "retrieval")
    prepare(found.model, split_of(data))


# Names that mean something else


def named(**items: Any) -> Split:
    """Rated and timed events of items (and users) with a column of each name, three texts in turn."""
    table = events(rating=stars, timestamp=times)
    things = item_table().select("item_id", *[pl.lit("x").alias(name) for name in items])
    for name, values in items.items():
        things = things.with_columns(pl.Series(name, [values[i % len(values)] for i in range(ITEMS)]))
    return sl.splits.random(from_tables(table, items=things), test=0.2, seed=1)


@pytest.mark.parametrize(
    "name", ["past_count", "session_count", "seen", "history", "raters", "nearest", "history_rating"]
)
def test_columns_named_like_those_made_of_past_events_are_left_out(name: str) -> None:
    split = named(**{name: ["gold", "silver", "tin"]})
    found = infer(split, "two-stage")
    assert any(f"items.{name}: left out; its name is that of a column made" in r for r in found.reasons)
    with pytest.raises(DataError, match=f"the items have a column '{name}'") as caught:
        prepare(found.model, split)
    assert "own_" + name in caught.value.hint


def test_a_users_column_named_like_a_derived_one_is_refused() -> None:
    table = events(timestamp=times)
    people = pl.DataFrame(
        {"user_id": [f"u{u}" for u in range(USERS)], "past_count": ["gold", "tin"] * (USERS // 2)}
    )
    split = sl.splits.random(from_tables(table, users=people), test=0.2, seed=1)
    spec = TwoTower(
        sl.Tower([Category("past_count", 4)]), sl.Tower([Id("item_id", 4)]), sl.Retrieval(loss="full")
    )
    with pytest.raises(DataError, match="the users have a column 'past_count'"):
        prepare(spec, split)


def test_a_feature_of_what_requests_tell_of_a_past_is_refused_where_the_model_reads_one() -> None:
    split = sl.splits.random(
        from_tables(events(rating=stars, timestamp=times, history_rating=stars)), test=0.2, seed=1
    )
    told = Normalize("history_rating")
    for past, refused in (([], False), ([Bag(dim=4)], True)):
        query = sl.Tower([Id("user_id", 4), *past, told], out=4)
        spec = TwoTower(query, sl.Tower([Id("item_id", 4)]), sl.Retrieval(loss="full"))
        if not refused:
            assert len(prepare(spec, split).examples)
            continue
        with pytest.raises(DataError, match="the interactions have a column 'history_rating'"):
            prepare(spec, split)


def test_columns_that_users_have_too_and_ids_are_no_kinds_of_items() -> None:
    table = events(rating=stars, timestamp=times)
    people = pl.DataFrame(
        {"user_id": [f"u{u}" for u in range(USERS)], "country": ["FR", "DE"] * (USERS // 2)}
    )
    things = pl.DataFrame(
        {
            "item_id": [f"i{i}" for i in range(ITEMS)],
            "country": ["FR", "DE", "IT", "ES"] * (ITEMS // 4),
            "user_id": ["maker 1", "maker 2"] * (ITEMS // 2),
        }
    )
    split = sl.splits.random(from_tables(table, users=people, items=things), test=0.2, seed=1)
    for goal in ("two-stage", "rating"):
        found = infer(split, goal)  # type: ignore[arg-type]
        assert len(prepare(found.model, split).examples) == split.train.height
        assert any("items.user_id: left out; its name is that of an id" in r for r in found.reasons)


def test_what_is_no_split_and_no_goal_is_refused() -> None:
    split = named(brand=["a", "b"])
    with pytest.raises(sl.ShortlistError, match="there is no goal 'ratings'") as caught:
        infer(split, "ratings")  # type: ignore[arg-type]
    assert "did you mean 'rating'" in caught.value.hint
    with pytest.raises(DataError, match="infer needs a Split, got str"):
        infer("events.csv")  # type: ignore[arg-type]
