"""What a recommender is asked when it is judged, and on which rows: by stand-ins whose answers are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist._typing import Columns, Floats, Longs
from shortlist.api.cases import Case, first_rows_of
from shortlist.api.entrants import entrant, numpy_counter, two_stage_entrant
from shortlist.api.evaluating import choose_weight, evaluate
from shortlist.api.fitting import Fitted
from shortlist.api.sources import read_data, split_data
from shortlist.data.coded import expanded
from shortlist.data.splits import Split
from shortlist.features.log import Log
from shortlist.features.schema import Schema
from shortlist.pipeline.questions import query_columns
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility
from shortlist.recipes import run as running
from shortlist.specs.features import AsOf
from shortlist.specs.recipe import Recipe
from shortlist.state.catalogue import Items
from shortlist.state.past import Past
from shortlist.state.seen import Seen
from shortlist.state.users import Users

N = 8
ITEMS = [f"i{n}" for n in range(N)]
COUNTS = [5, 9, 2, 5, 0, 1, 5, 3]
KNOWN = ["ann", "bob", "cy"]
SCHEMA = Schema({"user_id": "string", "timestamp": "int"}, {"item_id": "string"})


class Clock:
    """At time t it likes item t best, then t+1, t-1, t+2 and so on; a later item has the higher rating."""

    def encode_query(self, columns: Columns) -> tuple[Floats, Floats | None]:
        times = columns["timestamp"].astype(np.float32)
        scores = -np.square(np.arange(N) - times[:, None] - 0.1)
        return times[:, None], scores.astype(np.float32)

    def encode_candidate(self, columns: Columns) -> tuple[Floats, Floats | None]:
        positions = np.array([int(item[1:]) for item in columns["item_id"]])
        return positions[:, None].astype(np.float32), np.eye(N, dtype=np.float32)[positions]

    def predict(
        self,
        query: Floats,
        candidate: Floats,
        aggregates: dict[str, Floats] | None = None,
        rows: Longs | None = None,
    ) -> dict[str, Floats]:
        return {"rating": candidate[:, 0] if rows is None else candidate[rows, 0]}


class Line(Clock):
    """Always likes earlier items better, by 0.6 a position; ratings rise by 1 a position."""

    def encode_query(self, columns: Columns) -> tuple[Floats, Floats | None]:
        times = columns["timestamp"].astype(np.float32)
        scores = np.tile(-0.6 * np.arange(N), (len(times), 1))
        return times[:, None], scores.astype(np.float32)


def recommender(scorer: Clock, *, seen: dict[int, list[int]] | None = None) -> Recommender:
    pairs = [(user, item) for user, listed in (seen or {}).items() for item in listed]
    users, items = np.array(pairs, int).reshape(-1, 2).T
    return Recommender.of(
        Items.of(ITEMS, {}, COUNTS),
        Users.of(KNOWN, {}, Seen.from_pairs(users, items, len(KNOWN)), as_of=3),
        SCHEMA,
        retriever=scorer,
        ranker=scorer,
    )


def table(*rows: tuple[str, int, float, int]) -> pl.DataFrame:
    schema = {"user_id": pl.String, "item_id": pl.String, "rating": pl.Float64, "timestamp": pl.Int64}
    return pl.DataFrame([(u, ITEMS[i], float(r), t) for u, i, r, t in rows], schema=schema, orient="row")


def split_of(train: pl.DataFrame, validation: pl.DataFrame, test: pl.DataFrame) -> Split:
    people = pl.concat([train, validation, test])["user_id"].unique(maintain_order=True)
    return Split(train, validation, test, pl.DataFrame({"user_id": people}), items_table(), "made by hand")


def items_table() -> pl.DataFrame:
    return pl.DataFrame({"item_id": ITEMS})


TRAIN = table(("ann", 1, 2, 0), ("bob", 2, 2, 0), ("cy", 3, 2, 0))


# What counts as liked


def test_liked_is_no_worse_than_the_mean_of_training_and_validation() -> None:
    """The mean is 3: of train alone it would be 2, of the test rows 2.5."""
    validation = table(("ann", 4, 4, 0), ("bob", 4, 4, 0), ("cy", 4, 4, 0))
    test = table(("ann", 5, 1, 0), ("ann", 6, 2.9, 0), ("bob", 5, 3, 0), ("cy", 7, 3.1, 0))
    split = split_of(TRAIN, validation, test)
    made = recommender(Line())
    assert Case.of(made, split, test).liked.tolist() == [False, False, True, True]
    higher = test.with_columns(pl.col("rating") + 10)
    assert Case.of(made, replace(split, test=higher), higher).liked.all()
    lower = test.with_columns(pl.col("rating") - 10)
    assert not Case.of(made, replace(split, test=lower), lower).liked.any()


# Choosing the weight of the rating


@pytest.mark.parametrize(("first_liked", "weight"), [(True, 0.0), (False, 1.0)])
def test_the_weight_is_the_one_that_orders_the_given_rows_best(first_liked: bool, weight: float) -> None:
    """At weight 0 and 0.5 the first item leads, at weight 1 the last. The test rows say the opposite."""
    last = N - 1
    one, other = (5, 1) if first_liked else (1, 5)
    given = table(*((user, item, r, 0) for user in KNOWN for item, r in ((0, one), (last, other))))
    opposite = table(*((user, item, r, 0) for user in KNOWN for item, r in ((0, other), (last, one))))
    made = recommender(Line())
    fitted: Any = SimpleNamespace(recommender=lambda: made, split=split_of(TRAIN, given, opposite))
    assert choose_weight(fitted, given, [0.0, 0.5, 1.0], k=3) == weight
    assert choose_weight(fitted, opposite, [0.0, 0.5, 1.0], k=3) == 1.0 - weight
    assert choose_weight(fitted, given.clear(), [0.5, 1.0], k=3) == 0.0


class Stop(Exception):
    """Enough was seen."""


def test_a_run_chooses_on_validation_rows_and_keeps_a_model_of_train_and_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    events = {
        "user_id": [f"u{n}" for n in rng.integers(0, 9, 60)],
        "item_id": [f"i{n}" for n in np.arange(60) % N],
        "rating": rng.integers(1, 6, 60),
        "timestamp": np.arange(60),
    }
    pl.DataFrame(events).write_csv(tmp_path / "events.csv")
    recipe = Recipe.from_dict(
        {
            "data": {"interactions": str(tmp_path / "events.csv")},
            "split": {"rule": "random=80%", "validation": 0.25},
            "model": {
                "kind": "multi-task",
                "query": {"features": [{"kind": "id", "column": "user_id", "dim": 2}]},
                "candidate": {"features": [{"kind": "id", "column": "item_id", "dim": 2}]},
                "tasks": [{"kind": "retrieval"}, {"kind": "rating", "hidden": [2]}],
            },
        }
    )
    split = split_data(recipe, read_data(recipe))
    assert min(split.train.height, split.validation.height, split.test.height) > 0
    fits: list[Split] = []
    chosen_on: list[pl.DataFrame] = []
    served: list[float] = []

    def kept(**options: Any) -> None:
        served.append(options["rating_weight"])
        raise Stop

    def fit(model: Any, given: Split, **_: Any) -> Any:
        fits.append(given)
        return SimpleNamespace(split=given, history={}, best_epoch=1, seconds={}, recommender=kept)

    def choose(fitted: Any, rows: pl.DataFrame, *_: Any, **__: Any) -> float:
        assert fitted.split is fits[0]
        chosen_on.append(rows)
        return 0.37

    monkeypatch.setattr(running, "fit", fit)
    monkeypatch.setattr(running, "choose_weight", choose)
    with pytest.raises(Stop):
        running.run(recipe, tmp_path / "out")
    assert len(chosen_on) == 1 and chosen_on[0].equals(split.validation)
    assert [given.train.height for given in fits] == [split.train.height, split.refit().train.height]
    assert fits[0].train.equals(split.train) and fits[1].train.equals(split.refit().train)
    assert served == [0.37]


# What is asked of the model


def test_unknown_users_have_popularity_ranks_and_known_ones_the_models() -> None:
    """Counts 5 9 2 5 0 1 5 3: item 3 shares ranks 2 to 4 with two others, item 4 comes last."""
    test = table(("new", 3, 4, 4), ("ann", 3, 4, 4), ("new", 4, 4, 4), ("new", 1, 4, 4), ("new", 7, 4, 4))
    made = recommender(Clock(), seen={0: [4, 5]})
    found = entrant(made, Case.of(made, split_of(TRAIN, TRAIN.clear(), test), test), numpy_counter, "Clock")
    assert found.ranks is not None and found.user_ranks is not None
    for ranks in (found.ranks, found.user_ranks):
        assert ranks.raw.tolist() == [3.0, 3.0, 8.0, 1.0, 5.0]  # item 3 at time 4: after 4 and 5
        assert ranks.filtered.tolist() == [3.0, 1.0, 8.0, 1.0, 5.0]  # ann has both


def test_a_user_is_asked_about_once_at_the_time_of_the_earliest_row() -> None:
    """However the rows are ordered; of one time it is the one that comes first."""
    test = table(("cy", 6, 4, 7), ("ann", 5, 4, 6), ("ann", 0, 4, 1), ("cy", 0, 4, 2), ("ann", 6, 4, 0))
    made = recommender(Clock())
    case = Case.of(made, split_of(TRAIN, TRAIN.clear(), test), test)
    found = entrant(made, case, numpy_counter, "Clock")
    assert found.ranks is not None and found.user_ranks is not None and found.top is not None

    def rank(item: int, time: int) -> float:
        scores = -((np.arange(N) - time - 0.1) ** 2)
        return float(1 + (scores > scores[item]).sum())

    own = [rank(6, 7), rank(5, 6), rank(0, 1), rank(0, 2), rank(6, 0)]
    once = [rank(6, 2), rank(5, 0), rank(0, 0), rank(0, 2), rank(6, 0)]
    assert all(a != b for a, b in zip(own[:3], once[:3], strict=True))
    assert found.ranks.raw.tolist() == found.ranks.filtered.tolist() == own
    assert found.user_ranks.raw.tolist() == found.user_ranks.filtered.tolist() == once
    assert found.top[:, 0].tolist() == [0, 2]  # ann, then cy
    assert case.first.tolist() == [4, 3]
    assert [expanded(column).tolist() for column in case.first_queries.values()] == [["ann", "cy"], [0, 2]]


def test_of_rows_of_one_time_or_of_none_the_first_stands_for_its_user() -> None:
    test = table(("cy", 6, 4, 3), ("ann", 5, 4, 6), ("cy", 2, 4, 3), ("ann", 0, 4, 6), ("cy", 1, 4, 9))
    keys = np.array([1, 0, 1, 0, 1])
    assert first_rows_of(keys, test["timestamp"].to_numpy()).tolist() == [1, 0]
    assert first_rows_of(keys, None).tolist() == [1, 0]
    assert first_rows_of(keys, -test["timestamp"].to_numpy()).tolist() == [1, 4]


# What a learned bonus knows of the time


def remembering(as_of: AsOf, *, bonus: float = -50.0) -> Recommender:
    """Likes earlier items better but for those a user had; ann had item 0 at time 9 and item 1 at time 2."""
    users, items, times = np.array([0, 0, 1]), np.array([0, 1, 3]), np.array([9, 2, 0])
    log, _ = Log.of(users, items, times, None, len(KNOWN))
    made = recommender(Line(), seen={0: [0, 1], 1: [3]})
    known = replace(made.users, past=Past(log, 0.0, True), as_of=10)
    return replace(
        made, users=known, seen_bonus=bonus, seen_as_of=as_of, utility=Utility(0.1), num_retrieved=N
    )


REMEMBERED = table(("ann", 0, 4, 9), ("ann", 1, 4, 2), ("bob", 3, 4, 0))
LATER = table(("ann", 4, 4, 5), ("ann", 0, 4, 20), ("bob", 5, 4, 0), ("ann", 6, 4, 30))


@pytest.mark.parametrize(
    ("as_of", "left_out"), [("row", {"ann": [1], "bob": []}), ("leave-one-out", {"ann": [0, 1], "bob": [3]})]
)
def test_a_users_list_is_of_what_came_before_its_one_time(
    as_of: AsOf, left_out: dict[str, list[int]]
) -> None:
    """At time 5, and in one list for all of ann's rows: item 0 is not yet had as of the row."""
    made = remembering(as_of)
    case = Case.of(made, split_of(REMEMBERED, REMEMBERED.clear(), LATER), LATER)
    retrieval = entrant(made, case, numpy_counter, "Line")
    stages = two_stage_entrant(made, case, retrieval)
    assert stages is not None and stages.user_ranks is not None and retrieval.user_ranks is not None
    expected = []
    for user, item, _, _ in LATER.rows():
        scores = -0.6 * np.arange(N) + np.where(np.isin(np.arange(N), left_out[user]), -50.0, 0.0)
        expected.append(float(1 + (scores > scores[ITEMS.index(item)]).sum()))
    assert retrieval.user_ranks.raw.tolist() == expected
    assert stages.user_ranks.raw.tolist() == expected
    assert stages.user_ranks.filtered[[0, 2, 3]].tolist() == [3.0, 5.0, 5.0], "all of training is left out"


def test_rows_asked_by_themselves_have_the_bonus_as_of_themselves() -> None:
    made = remembering("row")
    case = Case.of(made, split_of(REMEMBERED, REMEMBERED.clear(), LATER), LATER)
    found = entrant(made, case, numpy_counter, "Line")
    assert found.ranks is not None and found.ranks.raw.tolist() == [4.0, 7.0, 6.0, 5.0]


# The time of a request that names none


def later(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("timestamp") + 10**6)


@pytest.fixture(scope="module")
def own_times(joint: Fitted, small_split: Split) -> Recommender:
    """A recommender of the joint model, whose validation and test rows are later than training."""
    moved = replace(small_split, validation=later(small_split.validation), test=later(small_split.test))
    return replace(joint, split=moved).recommender()


def test_as_of_is_the_latest_time_of_training(own_times: Recommender, small_split: Split) -> None:
    assert own_times.users.as_of == max(small_split.train["timestamp"].to_list())


def test_a_known_users_time_is_their_own_latest_and_a_strangers_the_latest_of_all(
    own_times: Recommender, small_split: Split
) -> None:
    latest: dict[str, int] = {}
    for user, time in small_split.train.select("user_id", "timestamp").rows():
        latest[user] = max(time, latest.get(user, 0))
    asked = [*latest, "a stranger"]
    users = own_times.users
    times = query_columns(own_times.schema, users, {}, users.indices(asked))["timestamp"]
    assert times.tolist() == [*latest.values(), max(latest.values())]
    assert len(set(latest.values())) > 1

    some = list(latest)[:5]
    named: list[Any] = [{"user_id": user, "timestamp": latest[user]} for user in some]
    silent: list[Any] = [{"user_id": user} for user in some]
    assert np.array_equal(own_times.query_vectors(silent), own_times.query_vectors(named))
    assert np.array_equal(own_times.query_vectors(some), own_times.query_vectors(named))
    assert not np.array_equal(
        own_times.query_vectors([{**row, "timestamp": 1} for row in named]), own_times.query_vectors(named)
    )


def test_a_model_trained_on_later_rows_than_the_splits_is_told(
    own_times: Recommender, small_split: Split
) -> None:
    """As after a warm start: the split says that nothing leaks, but not of this model's training."""
    cut = int(small_split.train["timestamp"].quantile(0.5) or 0)
    past, since = (
        small_split.test.with_columns(timestamp=pl.lit(at)) for at in (cut, (own_times.users.as_of or 0) + 1)
    )
    by_time = replace(small_split, rule="time=80%", leaks="nothing", test=past)
    told = [
        evaluate(own_times, split=split, baselines=False, resamples=10).protocol["leaks"]
        for split in (
            by_time,
            replace(by_time, test=since),
            replace(by_time, rule="random=80%"),
        )
    ]
    assert told[0].startswith("the model was trained on rows later than the first test row")
    assert told[1:] == ["nothing", "nothing"]
