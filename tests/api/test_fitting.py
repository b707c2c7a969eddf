"""`fit` from tables to a trained model: curves, early stopping, odd data, parts of one's own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import numpy as np
import polars as pl
import pytest

import shortlist as sl
from shortlist.api import fitting
from shortlist.api.fitting import Fitted, Progress, fit
from shortlist.api.preparing import prepare
from shortlist.data.splits import Split
from shortlist.data.synthetic import synthetic
from shortlist.errors import DataError, TrainingError
from shortlist.models.scorer import JaxScorer
from shortlist.training import steps
from shortlist.training.steps import copied


def table(rows: int = 30, users: int = 5, items: int = 4, **columns: Any) -> Split:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in rng.integers(0, users, rows)],
            "item_id": [f"i{i}" for i in rng.integers(0, items, rows)],
            "rating": rng.integers(1, 6, rows).astype(float),
            "timestamp": rng.integers(0, 10**6, rows),
        }
        | columns
    )
    people = pl.DataFrame({"user_id": [f"u{u}" for u in range(users)]})
    things = pl.DataFrame({"item_id": [f"i{i}" for i in range(items)]})
    return Split(frame, frame[:0], frame[:3], people, things, "given", None, "")


def model(*tasks: Any) -> Any:
    tower = sl.Tower([sl.Id("user_id", 4)]), sl.Tower([sl.Id("item_id", 4)])
    return sl.MultiTask(*tower, tasks or (sl.Retrieval(), sl.Rating(hidden=[])))


def leaves(fitted: Fitted) -> list[Any]:
    return jax.tree.leaves(eqx.filter((fitted.scorer.net, fitted.scorer.tables), eqx.is_array))


def test_a_joint_model_learns_both_of_its_tasks(joint: Fitted) -> None:
    assert set(joint.history) == {
        "loss of retrieval",
        "loss of rating",
        "validation ndcg@10",
        "validation rmse of rating",
    }
    assert all(len(curve) == 3 for curve in joint.history.values())
    for name in ("loss of retrieval", "loss of rating", "validation rmse of rating"):
        assert joint.history[name][-1] < joint.history[name][0]
    assert joint.best_epoch == 3
    assert set(joint.seconds) == {"compile", "fit", "fit_cpu", "prepare_cpu"}


def test_same_seed_same_bits(joint: Fitted, joint_model: Any, small_split: Split) -> None:
    again = fit(joint_model, small_split, epochs=3, batch_size=512, seed=42)
    assert all(np.array_equal(a, b) for a, b in zip(leaves(joint), leaves(again), strict=True))
    assert again.history == joint.history
    other = fit(joint_model, small_split, epochs=3, batch_size=512, seed=43)
    assert other.history != joint.history


def test_predictions_are_on_the_scale_of_the_label(joint: Fitted, small_split: Split) -> None:
    test = small_split.test
    predicted = joint.predict(test)["rating"]
    assert predicted.shape == (test.height,)
    error = np.sqrt(np.mean((predicted - test["rating"].to_numpy()) ** 2))
    assert error < test["rating"].std()
    figures = joint.predict(small_split.validation)["rating"] - small_split.validation["rating"].to_numpy()
    assert np.sqrt(np.mean(figures**2)) == pytest.approx(
        joint.history["validation rmse of rating"][-1], rel=1e-5
    )


def test_one_row_scores_like_a_row_among_many(joint: Fitted, small_split: Split) -> None:
    rows = small_split.test[:50]
    many = joint.predict(rows)["rating"]
    alone = [joint.predict(rows[i : i + 1])["rating"][0] for i in range(3)]
    np.testing.assert_allclose(alone, many[:3], rtol=1e-5)
    query, vectors = joint.scorer.represent("query", joint.prepared.examples.query)
    assert vectors is not None and len(query) == len(vectors) == small_split.train.height


def test_weights_of_tasks_are_handed_in_and_compile_nothing(
    joint_model: Any, joint: Fitted, small_split: Split
) -> None:
    known = len(steps._PROGRAMS)
    retrieval, rating = joint_model.tasks
    import msgspec

    tasks = (msgspec.structs.replace(retrieval, weight=0.2), msgspec.structs.replace(rating, weight=3.0))
    other = fit(
        msgspec.structs.replace(joint_model, tasks=tasks), small_split, epochs=3, batch_size=512, seed=42
    )
    assert len(steps._PROGRAMS) == known
    assert other.history["loss of retrieval"] != joint.history["loss of retrieval"]


def test_listeners_hear_of_every_epoch(small_split: Split) -> None:
    heard: list[Progress] = []
    fit(model(sl.Rating(hidden=[])), small_split, epochs=2, batch_size=512, listen=heard.append)
    assert [(p.epoch, p.num_epochs) for p in heard] == [(0, 2), (1, 2), (2, 2)]
    assert heard[0].figures == {}
    assert set(heard[1].figures) == {"loss of rating", "validation rmse of rating"}


def test_early_stopping_keeps_the_best_epoch_and_stops(
    small_split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = iter([0.1, 0.3, 0.2, 0.25, 0.9])
    params: list[Any] = []

    def judge(self: Any, given: Any) -> tuple[float, dict[str, float]]:
        params.append(copied(given))  # what is judged is lent
        score = next(figures)
        return score, {"validation figure": score}

    monkeypatch.setattr(fitting.Judge, "__call__", judge)
    stopped = fit(model(sl.Rating(hidden=[])), small_split, epochs=5, batch_size=512, patience=2)
    assert stopped.history["validation figure"] == [0.1, 0.3, 0.2, 0.25]
    assert stopped.best_epoch == 2
    kept = jax.tree.leaves(eqx.filter(params[1], eqx.is_array))
    assert all(np.array_equal(a, b) for a, b in zip(leaves(stopped), kept, strict=True))

    figures = iter([0.3, 0.2, 0.1])
    whole = fit(model(sl.Rating(hidden=[])), small_split, epochs=3, batch_size=512)
    assert whole.best_epoch == 3


def test_a_task_that_is_not_trained_does_not_judge(small_split: Split) -> None:
    idle = model(sl.Retrieval(weight=0), sl.Rating(hidden=[]))
    fitted = fit(idle, small_split, epochs=1, batch_size=512)
    judge = fitting.Judge(idle, small_split, fitted.prepared)
    score, figures = judge((fitted.scorer.net, fitted.scorer.tables))
    assert score == -figures["validation rmse of rating"]


def test_patience_needs_validation_rows() -> None:
    with pytest.raises(TrainingError, match="patience needs validation rows") as caught:
        fit(model(), table(), patience=1)
    assert "validation=0.1" in caught.value.hint


@pytest.mark.parametrize(
    "split",
    [table(users=1, rating=[3.0] * 30, timestamp=[7] * 30), table(rows=1, items=2)],
    ids=["one user at one moment, all ratings equal", "one row"],
)
def test_poor_data_still_trains(split: Split) -> None:
    query = sl.Tower([sl.Id("user_id", 4), sl.Bucket("timestamp", 9, 4), sl.Normalize("timestamp")], out=4)
    given = sl.MultiTask(query, sl.Tower([sl.Id("item_id", 4)]), [sl.Retrieval(), sl.Rating(hidden=[3])])
    fitted = fit(given, split, epochs=2, batch_size=16)
    assert all(np.isfinite(curve).all() for curve in fitted.history.values())
    assert np.isfinite(fitted.predict(split.test)["rating"]).all()


def test_one_item_leaves_nothing_to_retrieve() -> None:
    with pytest.raises(DataError, match="at least 2 items, the catalogue has 1") as caught:
        fit(model(), table(items=1))
    assert "Ranker" in caught.value.hint
    rank = sl.Ranker(sl.Tower([sl.Id("user_id", 4)]), sl.Tower([sl.Id("item_id", 4)]), [sl.Rating(hidden=[])])
    assert np.isfinite(fit(rank, table(items=1), epochs=1).history["loss of rating"]).all()


def spoilt(value: Any) -> list[Any]:
    return [1.0] * 4 + [value] + [1.0] * 25


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"rating": spoilt(float("nan"))}, "label 'rating' of row 4 is nan"),
        ({"rating": spoilt(float("inf"))}, "label 'rating' of row 4 is inf"),
        ({"rating": spoilt(1e300)}, r"label 'rating' of row 4 is 1e\+300"),
        ({"rating": ["a"] * 30}, "label column 'rating' must hold numbers, it holds String"),
        ({"weight": spoilt(float("nan"))}, "'weight' of row 4 is nan"),
        ({"weight": spoilt(-1.0)}, "weights must not be negative nor all zero; the smallest is -1"),
        ({"weight": [0.0] * 30}, "weights must not be negative nor all zero"),
        ({"item_id": ["i0"] * 29 + ["i9"]}, "row 29: item 'i9' is not in the items table"),
    ],
)
def test_bad_columns_are_named(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepare(model(), table(**columns))


def test_absent_columns_and_rows_are_named() -> None:
    with pytest.raises(DataError, match="label column 'raiting' is not in the interactions") as caught:
        prepare(model(sl.Rating("raiting")), table())
    assert "did you mean 'rating'?" in caught.value.hint
    query = sl.Tower([sl.Bucket("timestmp", 9)])
    with pytest.raises(DataError, match=r"query tower's feature Bucket\('timestmp'\)") as caught:
        prepare(sl.TwoTower(query, sl.Tower([sl.Id("item_id")])), table())
    assert "did you mean 'timestamp'?" in caught.value.hint
    with pytest.raises(DataError, match="items table") as caught:
        prepare(sl.TwoTower(sl.Tower([sl.Id("user_id")]), sl.Tower([sl.Text("title")])), table())
    with pytest.raises(DataError, match="no training rows"):
        prepare(model(), table(rows=0))


def test_what_is_sampled_is_counted_by_rows_not_weights() -> None:
    heavy = table(weight=[9.0] + [1.0] * 28 + [0.0])
    prepared = prepare(model(), heavy)
    counts = np.bincount(prepared.examples.candidates[:-1], minlength=4)
    np.testing.assert_allclose(np.exp(prepared.catalogue.log_q), counts / 29, rtol=1e-5)


def test_parts_of_ones_own_train_like_ours(custom: Fitted, small_split: Split) -> None:
    assert set(custom.history) >= {"loss of retrieval", "loss of huber"}
    assert custom.history["loss of huber"][-1] < custom.history["loss of huber"][0]
    assert custom.history["loss of retrieval"][-1] < custom.history["loss of retrieval"][0]
    own = custom.scorer.net.query.custom
    assert type(own).__name__ == "Gated"
    fresh = fitting.build(custom.model, custom.prepared.encoder.sizes, means={}, seed=42)[0].query.custom
    assert not np.array_equal(own.gate.weight, fresh.gate.weight)  # type: ignore[attr-defined]
    rows = small_split.test[:9]
    np.testing.assert_allclose(
        custom.predict(rows)["huber"][:1], custom.predict(rows[:1])["huber"], rtol=1e-5
    )
    assert isinstance(custom.scorer, JaxScorer)


@pytest.fixture(scope="module")
def visits() -> Split:
    """Visits whose items depend on the day of the week and on how new they are, the last fifth to test on."""
    data, _ = synthetic(num_users=300, num_items=60, num_interactions=20_000, dim=2, seed=3)
    return sl.splits.random(data, test=0.2, seed=1)


def hit_rate(fitted: Fitted) -> float:
    from shortlist.api.preparing import positions_of, query_columns, user_indices
    from shortlist.training.ranks import count_ranks

    test = fitted.split.test
    vectors = fitted.scorer.encode_query(query_columns(fitted.model, test, fitted.split.users))[1]
    items = fitted.candidates[1]
    assert vectors is not None and items is not None
    targets = positions_of(test, fitted.split.items)
    users = user_indices(test, fitted.prepared.users)
    return float((count_ranks(vectors, items, targets, fitted.prepared.seen, users)[0] <= 5).mean())


def test_time_features_find_the_planted_effects(visits: Split) -> None:
    def trained(split: Split, *context: Any) -> float:
        query = sl.Tower([sl.Id("user_id", 8), *context], out=12)
        given = sl.TwoTower(query, sl.Tower([sl.Id("item_id", 12)]), sl.Retrieval(loss="full"))
        return hit_rate(
            fit(given, split, epochs=6, batch_size=1_000, optimizer=sl.Adam(0.03, schedule="cosine"))
        )

    # the control has the same features of times that tell nothing: the same program, and no less to learn by
    rows = visits.train.with_columns(pl.col("timestamp").shuffle(seed=0))
    aimless = replace(visits, train=rows, test=visits.test.with_columns(pl.col("timestamp").shuffle(seed=0)))
    for feature, more in (
        (sl.Cyclic("timestamp", "day_of_week"), 0.02),
        (sl.Bucket("timestamp", 20, 8), 0.05),
    ):
        assert (
            trained(visits, feature) > trained(aimless, feature) + more
        )  # the day's favourites, what is new
