"""What a whole model may know: nothing of test labels, nothing of a later second, older rows less."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import numpy as np
import polars as pl
import pytest

from shortlist.api.cases import Case
from shortlist.api.entrants import compiled_counter, entrant
from shortlist.api.evaluating import evaluate
from shortlist.api.fitting import Fitted, faded, fit
from shortlist.api.observing import observed
from shortlist.api.preparing import positions_of, prepare
from shortlist.data.dataset import Dataset
from shortlist.data.splits import Split, random, temporal
from shortlist.errors import TrainingError
from shortlist.features.log import Log
from shortlist.pipeline.recommender import Recommender
from shortlist.recipes.measures import rolling_measured, rows_measured
from shortlist.specs.aggregates import Affinity, Aggregate, Context
from shortlist.specs.features import AsOf, Bag, Bucket, Category, History, Id
from shortlist.specs.models import MultiTask, Tower, TwoTower
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.specs.training import Training
from shortlist.state.past import Past

COURSE = Training(epochs=2, batch_size=1000)
DAY = 86_400


def model(as_of: AsOf) -> MultiTask:
    """Everything that reads other rows, in small."""
    own = Bag(dim=4, as_of=as_of, scale=0.3), Bag(dim=4, rated=True, as_of=as_of, scale=0.3)
    raters = [Bag(column="user_id", dim=4, rated=r, as_of=as_of, scale=0.3) for r in (False, True)]
    query = Tower(
        [
            History(dim=4, length=8, as_of=as_of, scale=0.3),
            Bag(dim=4, event_dropout=0.2, as_of=as_of, scale=0.3),
            Bucket("past_gap", num_buckets=8, dim=4, method="quantile", scale=0.3),
        ],
        combine="sum",
    )
    figures = [
        Aggregate(as_of=as_of),
        Aggregate(by=["item_id"], as_of=as_of),
        Aggregate(by=["item_id"], statistic="count", window=30.0 * DAY, as_of=as_of),
        Aggregate(by=["user_id", "genres"], as_of=as_of),
        Aggregate(by=["item_id", "age"], bins=4, as_of=as_of),
        Aggregate(last=3, as_of=as_of),
        Aggregate(by=["popularity"], of="rating", as_of=as_of),
        Affinity(tags="genres", near="year", width=5.0, as_of=as_of),
        Affinity(near="popularity", width=0.7, as_of=as_of),
        Affinity(by="item_id", near="age", width=7.0, as_of=as_of),
        *(Context(what=what, as_of=as_of) for what in ("since_first", "gap", "position")),
    ]
    head = Rating(
        hidden=[4],
        interaction="product",
        dim=4,
        query=[Id("user_id", 4), *own],
        candidate=[Id("item_id", 4), *raters],
        aggregates=figures,
    )
    candidate = Tower([Id("item_id", 4, scale=0.3), Category("year", 4)], combine="sum")
    return MultiTask(query, candidate, [Retrieval(loss="full", item_bias=True, seen=as_of), head])


@pytest.fixture(scope="module")
def tiny(small_data: Dataset) -> Dataset:
    """Sixty users of MovieLens."""
    users = small_data.users[:60]
    kept = pl.col("user_id").is_in(users["user_id"].to_list())
    return Dataset(small_data.interactions.filter(kept), users, small_data.items, "tiny")


@pytest.fixture(scope="module")
def given(tiny: Dataset) -> Split:
    return random(tiny, test=0.2, seed=42)


@pytest.fixture(scope="module")
def causal(given: Split) -> Fitted:
    return fit(model("row"), given, training=COURSE)


@pytest.fixture(scope="module")
def nearest(given: Split) -> Fitted:
    return fit(model("leave-one-out"), given, training=COURSE)


# Test rows


def parameters(fitted: Fitted) -> list[Any]:
    return jax.tree.leaves(eqx.filter((fitted.scorer.net, fitted.scorer.tables), eqx.is_array))


def test_test_labels_change_nothing_but_figures(given: Split, nearest: Fitted) -> None:
    """Other ratings, and other items, in the test rows: the same bits in all that is learned and answered."""
    others = given.test["item_id"].shuffle(seed=3).alias("item_id")
    test = given.test.with_columns(pl.col("rating").shuffle(seed=2), others)
    spoilt = fit(nearest.model, replace(given, test=test), training=COURSE)
    for one, other in zip(parameters(nearest), parameters(spoilt), strict=True):
        np.testing.assert_array_equal(one, other)
    assert nearest.history == spoilt.history
    first, second = nearest.recommender(), spoilt.recommender()
    assert first.item_vectors is not None and second.item_vectors is not None
    np.testing.assert_array_equal(first.item_vectors, second.item_vectors)
    asked = given.test.drop("rating")
    scores = [recommender.score(asked).columns for recommender in (first, second)]
    assert set(scores[0]) >= {"rating", "log_p"}
    for name, column in scores[0].items():
        np.testing.assert_array_equal(column, scores[1][name])
    figures = [rows_measured(nearest, given), rows_measured(spoilt, spoilt.split)]
    assert all(figures[0][name] != figures[1][name] for name in ("rmse", "top100_raw"))
    # of other ratings alone only errors tell
    rated = replace(given, test=given.test.with_columns(pl.col("rating").shuffle(seed=2)))
    figures.append(rows_measured(nearest, rated))
    assert figures[2]["rmse"] > figures[0]["rmse"]
    assert {k: v for k, v in figures[2].items() if "rmse" not in k} == {
        k: v for k, v in figures[0].items() if "rmse" not in k
    }


# Later rows


def cut_at(recommender: Recommender, time: int) -> Recommender:
    """The recommender, had nothing happened at that second or later."""
    past = recommender.users.past
    assert past is not None and past.log.ratings is not None
    log, kept = past.log, past.log.times < time
    assert 0 < kept.sum() < len(log)
    shorter, _ = Log.of(log.users[kept], log.items[kept], log.times[kept], log.ratings[kept], log.num_users)
    users = replace(recommender.users, past=Past(shorter, past.mean, past.timed))
    return replace(recommender, users=users)


def answers(recommender: Recommender, split: Split, rows: pl.DataFrame) -> dict[str, np.ndarray]:
    """Query vectors, ratings and ranks of test rows."""
    case = Case.of(recommender, split, rows)
    found = entrant(recommender, case, compiled_counter, "", users=False)
    assert recommender.retriever is not None and found.ranks is not None and found.ratings is not None
    vectors = recommender.retriever.encode_query(case.queries)[1]
    assert vectors is not None
    return {"vectors": vectors, "ratings": found.ratings, "ranks": found.ranks.raw}


def moved(fitted: Fitted, given: Split, *, before: bool) -> dict[str, np.ndarray]:
    """By how much answers to test rows up to a second, or after it, move when all from then on is deleted."""
    both = given.test.join(given.train, on=["user_id", "timestamp"], how="semi")["timestamp"].sort()
    cut = int(both[len(both) * 3 // 5])  # a second in which some user has rows of both kinds
    in_time = pl.col("timestamp") <= cut
    rows = given.test.filter(in_time if before else ~in_time)
    recommender = fitted.recommender()
    whole, less = (answers(r, given, rows) for r in (recommender, cut_at(recommender, cut)))
    return {name: np.abs(whole[name] - less[name]) for name in whole}


def test_what_happens_later_changes_no_causal_answer(causal: Fitted, given: Split) -> None:
    assert not causal.model.sees_future
    for name, distance in moved(causal, given, before=True).items():
        assert distance.max() <= (0.5 if name == "ranks" else 1e-5), name  # equal scores may trade places
    for distance in moved(causal, given, before=False).values():
        assert distance.max() > 1e-3


def test_leave_one_out_answers_do_see_later_events(nearest: Fitted, given: Split) -> None:
    assert nearest.model.sees_future
    for distance in moved(nearest, given, before=True).values():
        assert distance.max() > 1e-3


# Rolling figures


def test_rolling_figures_see_strictly_earlier_test_events(tiny: Dataset) -> None:
    """Against a loop over rows, each asked of a recommender that observed its user's earlier rows."""
    whole = temporal(tiny, test=0.2)
    known = whole.train["user_id"].unique().to_list()
    warm = whole.test.filter(pl.col("user_id").is_in(known))["user_id"].unique(maintain_order=True)[:2]
    new = whole.test.filter(~pl.col("user_id").is_in(known))["user_id"].unique(maintain_order=True)[:2]
    assert len(warm) == len(new) == 2
    test = whole.test.filter(pl.col("user_id").is_in([*warm, *new])).sort("timestamp")
    test = pl.concat([test.filter(pl.col("user_id") == user)[:12] for user in (*warm, *new)])
    split = replace(whole, test=test)
    query = Tower([History(dim=4, scale=0.5), Bag(dim=4, scale=0.5)], combine="sum")
    spec = TwoTower(
        query, Tower([Id("item_id", 4, scale=0.5)]), Retrieval(loss="full", item_bias=True, seen="row")
    )
    fitted = fit(spec, split, training=COURSE)
    recommender, times = fitted.recommender(), test["timestamp"].to_numpy()
    targets = positions_of(test, split.items)
    ranks, blind = [], []
    for n, row in enumerate(test.iter_rows(named=True)):
        mine = test.filter((pl.col("user_id") == row["user_id"]) & (pl.col("timestamp") < row["timestamp"]))
        one = observed(recommender, mine) if mine.height else recommender
        earlier = pl.concat([split.train.filter(pl.col("user_id") == row["user_id"]), mine])
        had = set(positions_of(earlier, split.items).tolist()) - {int(targets[n])}
        ranks.append(rank_of(one, split, test[n : n + 1], had))
        blind.append(rank_of(recommender, split, test[n : n + 1], had))
    assert len(np.unique(times)) < len(times), "some events share a second"
    assert ranks != blind, "what happened in the test period tells"
    found = rolling_measured(fitted, split)
    assert found["hr10"] == pytest.approx(np.mean(np.array(ranks) <= 10))
    assert found["top100_filtered"] == pytest.approx(np.mean(np.array(ranks) <= 100))
    assert 0 < found["top100_filtered"] < 1


def rank_of(recommender: Recommender, split: Split, row: pl.DataFrame, had: set[int]) -> float:
    """The rank of a row's item among those its user did not have."""
    queries = Case.of(recommender, split, row).queries
    assert recommender.retriever is not None and recommender.item_vectors is not None
    vectors = recommender.retriever.encode_query(queries)[1]
    assert vectors is not None
    scores = recommender.item_vectors @ vectors[0]
    (target,) = positions_of(row, split.items)
    others = np.setdiff1d(np.arange(len(scores)), [*had, target])
    above, level = (
        np.sum(found) for found in (scores[others] > scores[target], scores[others] == scores[target])
    )
    return float(1 + above + level / 2)


# Two stages


@pytest.mark.slow
def test_ratings_on_a_list_are_those_that_are_asked_for(causal: Fitted, nearest: Fitted) -> None:
    """What depends on who had an item is the same when items are ordered and when they are scored."""
    for fitted in (causal, nearest):
        recommender = fitted.recommender(rating_weight=0.5, num_retrieved=30)
        slate = recommender.recommend(fitted.prepared.users.values[7], k=30)
        user = [fitted.prepared.users.values[7]] * len(slate["item_id"])
        scored = recommender.score(pl.DataFrame({"user_id": user, "item_id": slate["item_id"].tolist()}))
        np.testing.assert_allclose(slate["rating"], scored["rating"], rtol=1e-5)


# Older rows


def test_rows_lose_half_their_weight_every_half_life(given: Split) -> None:
    prepared = prepare(TwoTower(Tower([Id("user_id", 2)]), Tower([Id("item_id", 2)])), given)
    weighed = faded(prepared, given, 20.0).examples.weights
    assert weighed.mean() == pytest.approx(prepared.examples.weights.mean(), rel=1e-5)
    days = given.train["timestamp"].to_numpy() / DAY
    expected = 0.5 ** ((days.max() - days) / 20.0)
    np.testing.assert_allclose(weighed / weighed.max(), expected, rtol=1e-4)
    heavy = replace(given, train=given.train.with_columns(weight=pl.int_range(pl.len()) % 3 + 1.0))
    prepared = prepare(TwoTower(Tower([Id("user_id", 2)]), Tower([Id("item_id", 2)])), heavy)
    both = faded(prepared, heavy, 20.0).examples.weights
    product = expected * heavy.train["weight"].to_numpy()
    np.testing.assert_allclose(both / both.sum(), product / product.sum(), rtol=1e-4)


def test_half_life_reaches_training_and_needs_times(given: Split) -> None:
    spec = TwoTower(Tower([Id("user_id", 2)]), Tower([Id("item_id", 2)]))
    course = Training(epochs=1, half_life=20.0)
    first, second = (fit(spec, given, training=t) for t in (course, Training(epochs=1)))
    assert first.history != second.history
    untimed = replace(given, train=given.train.drop("timestamp"))
    with pytest.raises(TrainingError, match="half_life weighs rows by their age"):
        fit(spec, untimed, training=course)


def test_reports_say_when_inputs_see_the_future(causal: Fitted, nearest: Fitted) -> None:
    """A leave-one-out model is labelled where it is judged; a strictly earlier one is not."""
    for fitted, told in ((causal, False), (nearest, True)):
        report = evaluate(fitted, baselines=False, resamples=10)
        assert fitted.recommender().sees_future is told
        assert ("inputs" in report.protocol) is told
