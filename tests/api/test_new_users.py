"""Rows learned from as if their users had just come: `Training(new_users=...)`."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from shortlist.api.fitting import fit
from shortlist.api.preparing import Prepared, prepare
from shortlist.data.dataset import Dataset
from shortlist.data.splits import Split, random
from shortlist.errors import SpecError
from shortlist.features.aggregates import fit_aggregates
from shortlist.features.log import Log, Standing
from shortlist.specs.aggregates import Affinity, Aggregate, AggregateSpec, Context
from shortlist.specs.features import AsOf, Bag, Bucket, Category, History, Id
from shortlist.specs.models import MultiTask, Tower
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.specs.training import Training

ALL = 0.999_999
"""So many that no row is left out."""
OF_USER: list[AggregateSpec] = [
    Aggregate(),
    Aggregate(statistic="count"),
    Aggregate(by=["user_id", "year"]),
    Aggregate(by=["activity"], of="rating"),
    Affinity(near="popularity", width=0.7),
    Context("position"),
]
OF_ITEM: list[AggregateSpec] = [
    Aggregate(by=["item_id"]),
    Aggregate(by=["item_id", "sex"]),
    Affinity(by="item_id", near="age", width=7.0),
    Context("hour_sine"),
]


def model(as_of: AsOf) -> MultiTask:
    query = Tower(
        [
            Id("user_id", 4, scale=0.3),
            History(dim=4, length=6, as_of=as_of, scale=0.3),
            Bag(dim=4, as_of=as_of, scale=0.3),
            Bucket("past_count", num_buckets=4, dim=4, method="quantile", scale=0.3),
            Category("sex", 4, scale=0.3),
        ],
        combine="sum",
    )
    aggregates = [type(a).from_dict(a.to_dict() | {"as_of": as_of}) for a in (*OF_USER, *OF_ITEM)]
    head = Rating(
        hidden=[4],
        interaction="product",
        dim=4,
        query=[Bag(dim=4, rated=True, as_of=as_of, scale=0.3)],
        candidate=[Bag(column="user_id", dim=4, as_of=as_of, scale=0.3)],
        aggregates=aggregates,
    )
    candidate = Tower([Id("item_id", 4, scale=0.3)], combine="sum")
    return MultiTask(query, candidate, [Retrieval(loss="full", seen=as_of), head])


@pytest.fixture(scope="module")
def given(small_data: Dataset) -> Split:
    users = small_data.users[:30]
    kept = pl.col("user_id").is_in(users["user_id"].to_list())
    return random(Dataset(small_data.interactions.filter(kept), users, small_data.items, "tiny"), test=0.2)


def keys(prepared: Prepared) -> list[str]:
    return sorted(prepared.examples.query)


@pytest.mark.parametrize("as_of", ["row", "leave-one-out"])
def test_only_the_drawn_rows_are_of_new_users(given: Split, as_of: AsOf) -> None:
    plain, some, again = (prepare(model(as_of), given, new_users=p, seed=7) for p in (0.0, 0.4, 0.4))
    user = next(k for k in keys(plain) if k.startswith("user_id"))
    new = np.asarray(some.examples.query[user] == 0)
    assert 0.3 < new.mean() < 0.5 and (plain.examples.query[user] > 0).all()
    for key in keys(plain):
        one, other = plain.examples.query[key], some.examples.query[key]
        np.testing.assert_array_equal(one[~new], other[~new])
        np.testing.assert_array_equal(other, again.examples.query[key])
        if not key.startswith("sex"):
            assert len(np.unique(other[new], axis=0)) == 1, f"{key}: nothing is known of new users"
    sex = next(k for k in keys(plain) if k.startswith("sex"))
    np.testing.assert_array_equal(plain.examples.query[sex], some.examples.query[sex])
    assert plain.examples.past is not None and some.examples.past is not None
    np.testing.assert_array_equal(plain.examples.past[~new], some.examples.past[~new])
    assert not some.examples.past[new].any()
    assert some.encoder.to_dict() == plain.encoder.to_dict()


@pytest.mark.parametrize("as_of", ["row", "leave-one-out"])
def test_aggregates_say_nothing_of_a_new_user_and_all_of_the_item(given: Split, as_of: AsOf) -> None:
    """Against a log in which the row's user is another, without events; item figures keep out the row."""
    plain, some = (prepare(model(as_of), given, new_users=p, seed=7) for p in (0.0, 0.4))
    assert some.examples.past is not None and plain.examples.past is not None
    new = np.flatnonzero(some.examples.query[next(k for k in keys(some) if k.startswith("user_id"))] == 0)
    before, after = (p.examples.aggregates["rating"] for p in (plain, some))
    np.testing.assert_array_equal(after[:, len(OF_USER) :], before[:, len(OF_USER) :])
    kept = np.setdiff1d(np.arange(len(after)), new)
    np.testing.assert_array_equal(after[kept], before[kept])
    log, people, things = reference_log(plain, given)
    specs = [type(a).from_dict(a.to_dict() | {"as_of": as_of}) for a in (*OF_USER, *OF_ITEM)]
    ready = fit_aggregates(specs, log, people, things).over(log, people, things)
    empty = Log.of(*np.zeros((4, 0), np.int64), 1)[0]
    times = given.train["timestamp"].to_numpy()
    for row in new[:8]:
        whose = plain.examples.users[row]
        stranger = ready.with_users(empty, {name: column[[whose]] for name, column in people.items()})
        at = Standing.of(np.zeros(1), times[[row]])
        expected = stranger.values(at, plain.examples.candidates[[row]])[0, : len(OF_USER)]
        np.testing.assert_allclose(after[row, : len(OF_USER)], expected, atol=1e-6)


def reference_log(prepared: Prepared, split: Split) -> tuple[Log, dict, dict]:  # type: ignore[type-arg]
    train, examples = split.train, prepared.examples
    log, _ = Log.of(
        examples.users,
        examples.candidates,
        train["timestamp"].to_numpy(),
        train["rating"].to_numpy(),
        len(prepared.users),
    )
    known = pl.DataFrame({"user_id": list(prepared.users.values)}).join(
        split.users, on="user_id", how="left", maintain_order="left"
    )
    people = {"sex": known["sex"].to_numpy().astype(object), "age": known["age"].to_numpy()}
    return log, people, {"year": split.items["year"].to_numpy()}


@pytest.mark.slow
def test_of_new_users_alone_nothing_is_learned_of_users(given: Split) -> None:
    """Where every row is of a new user the vectors of ids and of past items keep their start."""
    before, after = (
        fit(model("leave-one-out"), given, training=Training(epochs=e, new_users=ALL, batch_size=500))
        for e in (1, 3)
    )
    still = {
        name
        for name, table in after.scorer.tables.items()
        if np.array_equal(np.asarray(table)[1:], np.asarray(before.scorer.tables[name])[1:])
    }
    assert still == {
        "query/user_id.id",
        "query/item_id.bag",
        "query/item_id.history",
        "query/rating:item_id.rated-bag",
    }


def test_the_share_is_checked() -> None:
    with pytest.raises(SpecError, match=r"Training.new_users must lie in \[0, 1\), got 1.0"):
        Training(new_users=1.0)
