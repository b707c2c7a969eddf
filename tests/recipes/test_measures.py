"""What is measured, against loops over rows and users; by stand-ins, nothing is trained."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from shortlist._typing import Columns, Floats
from shortlist.api.entrants import numpy_counter
from shortlist.data.splits import Split
from shortlist.evaluation.intervals import Estimate
from shortlist.evaluation.rows import Predictions, Skipped, TestRows
from shortlist.features.schema import Schema
from shortlist.index.ranks import Ranks
from shortlist.pipeline.recommender import Recommender
from shortlist.recipes import measures
from shortlist.recipes.measures import baseline_figures, rows_measured, scale_of, users_measured
from shortlist.state.catalogue import Items
from shortlist.state.seen import Seen
from shortlist.state.users import Users

N, WARM, COLD = 140, 7, 5
"""Items; users of training, and others that come with the test rows."""
USERS = [f"u{k}" for k in range(WARM + COLD)]
ITEMS = [f"i{k}" for k in range(N)]
TIMES = 6
LOWEST, HIGHEST = 1.5, 4.5
RNG = np.random.default_rng(8)


class Event(NamedTuple):
    user: int
    item: int
    rating: float
    time: int


def made(users: range, each: int, *, least: float, most: float) -> list[Event]:
    events = []
    for user in users:
        for item in RNG.choice(N, each + user % 3, replace=False):
            rating = float(RNG.choice(np.arange(least, most + 0.5, 0.5)))
            events.append(Event(user, int(item), rating, int(RNG.integers(TIMES))))
    return [events[k] for k in RNG.permutation(len(events))]


TRAIN = made(range(WARM), 12, least=LOWEST, most=HIGHEST)
HAD = [{e.item for e in TRAIN if e.user == user} for user in range(WARM + COLD)]
TEST = [e for e in made(range(WARM + COLD), 6, least=0.5, most=5.0) if e.item not in HAD[e.user]]
POPULAR = np.bincount([e.item for e in TRAIN], minlength=N)
LIKING = RNG.normal(size=(WARM, N))
"""How well the stand-in likes an item of a user: best what the user had, and then much of the test rows."""
for event in TRAIN:
    LIKING[event.user, event.item] += 4.0
for event in TEST:
    if event.user < WARM:
        LIKING[event.user, event.item] += 1.8
MOOD = RNG.normal(size=(TIMES, N))
"""What a time adds to that."""
RATED = RNG.uniform(-1.0, 7.0, (TIMES, N))
"""What is predicted: beyond the scale on both sides."""


class Stand:
    """Answers from the tables above."""

    def encode_query(self, columns: Columns) -> tuple[Floats, Floats | None]:
        users = [USERS.index(user) for user in columns["user_id"]]
        liking = np.array([LIKING[u] if u < WARM else np.zeros(N) for u in users])
        times = columns["timestamp"].astype(int)
        return times[:, None].astype(np.float32), (liking + MOOD[times]).astype(np.float32)

    def encode_candidate(self, columns: Columns) -> tuple[Floats, Floats | None]:
        positions = np.array([ITEMS.index(item) for item in columns["item_id"]])
        return positions[:, None].astype(np.float32), np.eye(N, dtype=np.float32)[positions]

    def predict(
        self, query: Floats, candidate: Floats, aggregates: Any = None, rows: Any = None
    ) -> dict[str, Floats]:
        if rows is not None:
            query, candidate = query[:, None], candidate[rows]
        return {"rating": RATED[query[..., 0].astype(int), candidate[..., 0].astype(int)].astype(np.float32)}


def table(events: list[Event]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": [USERS[e.user] for e in events],
            "item_id": [ITEMS[e.item] for e in events],
            "rating": [e.rating for e in events],
            "timestamp": [e.time for e in events],
        }
    )


@pytest.fixture(scope="module")
def split() -> Split:
    people, things = pl.DataFrame({"user_id": USERS}), pl.DataFrame({"item_id": ITEMS})
    return Split(table(TRAIN), table(TRAIN[:0]), table(TEST), people, things, "by hand")


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A fitted model's stand-in; ranks are counted by NumPy, which needs no compilation."""
    monkeypatch.setattr(measures, "compiled_counter", numpy_counter)
    seen = Seen.from_pairs([e.user for e in TRAIN], [e.item for e in TRAIN], WARM)
    recommender = Recommender.of(
        Items.of(ITEMS, {}, POPULAR),
        Users.of(USERS[:WARM], {}, seen, as_of=TIMES - 1),
        Schema({"user_id": "string", "timestamp": "int"}, {"item_id": "string"}),
        retriever=Stand(),
        ranker=Stand(),
    )
    return SimpleNamespace(recommender=lambda: recommender)


# Loops


def rank(user: int, item: int, time: int, *, filtered: bool) -> float:
    """Of a user training does not know: among the most popular, ties at their mean rank."""
    scores = LIKING[user] + MOOD[time] if user < WARM else POPULAR.astype(float)
    left = [i for i in range(N) if i != item and not (filtered and i in HAD[user])]
    above = sum(scores[i] > scores[item] for i in left)
    return float(1.0 + above + sum(scores[i] == scores[item] for i in left) / 2)


def discounted(rank: float, k: int) -> float:
    return 1.0 / np.log2(rank + 1) if rank <= k else 0.0


def root_mean_square(events: list[Event]) -> float:
    errors = [min(max(RATED[e.time, e.item], LOWEST), HIGHEST) - e.rating for e in events]
    return float(np.sqrt(np.mean(np.square(errors))))


def of_users(ranks: list[float], users: set[int]) -> tuple[float, float]:
    """Recall and NDCG, each a mean over users."""
    recalls, gains = [], []
    for user in sorted(users):
        mine = [r for r, e in zip(ranks, TEST, strict=True) if e.user == user]
        best = sum(1 / np.log2(place + 1) for place in range(1, min(len(mine), 10) + 1))
        recalls.append(sum(r <= 10 for r in mine) / len(mine))
        gains.append(sum(discounted(r, 10) for r in mine) / best)
    return float(np.mean(recalls)), float(np.mean(gains))


TESTED = {e.user for e in TEST}
KNOWN = {user for user in TESTED if user < WARM}


def test_the_data_tell_measures_apart() -> None:
    """Cold users, ratings and predictions beyond the scale, several times a user, the first not the first."""
    assert KNOWN and TESTED - KNOWN
    assert min(e.rating for e in TRAIN) == LOWEST and max(e.rating for e in TRAIN) == HIGHEST
    assert min(e.rating for e in TEST) < LOWEST and max(e.rating for e in TEST) > HIGHEST
    predicted = [RATED[e.time, e.item] for e in TEST]
    assert min(predicted) < LOWEST - 1 and max(predicted) > HIGHEST + 1
    first = {e.user: e.time for e in TEST[::-1]}
    assert any(e.time < first[e.user] for e in TEST)


# Measures


def test_rows_measured_is_what_a_loop_over_rows_finds(fitted: Any, split: Split) -> None:
    raw = [rank(e.user, e.item, e.time, filtered=False) for e in TEST]
    filtered = [rank(e.user, e.item, e.time, filtered=True) for e in TEST]
    expected: dict[str, Any] = {
        "top100_raw": np.mean([r <= 100 for r in raw]),
        "top100_filtered": np.mean([r <= 100 for r in filtered]),
        "hr10": np.mean([r <= 10 for r in filtered]),
        "ndcg10": np.mean([discounted(r, 10) for r in filtered]),
        "rmse": root_mean_square(TEST),
        "rmse_warm": root_mean_square([e for e in TEST if e.user < WARM]),
    }
    assert rows_measured(fitted, split) == pytest.approx(expected, rel=1e-6)
    # what other rules would find
    assert expected["top100_raw"] < expected["top100_filtered"] < 1
    assert 0 < np.mean([r <= 10 for r in raw]) < expected["hr10"] < 1
    cold = root_mean_square([e for e in TEST if e.user >= WARM])
    assert len({round(x, 3) for x in (expected["rmse"], expected["rmse_warm"], cold)}) == 3


def test_users_measured_is_one_list_a_user_as_of_its_earliest_row(
    fitted: Any, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def lead(*of: Any) -> Estimate:
        asked.append(of)
        return Estimate(0.3, 0.1, 0.5)

    monkeypatch.setattr(measures, "lead_on", lead)
    once = {user: min(e.time for e in TEST if e.user == user) for user in TESTED}
    ranks = [rank(e.user, e.item, once[e.user], filtered=True) for e in TEST]
    found = users_measured(fitted, split)
    recall, gain = of_users(ranks, TESTED)
    leads = {"ndcg10_lead": 0.3, "ndcg10_lead_low": 0.1, "ndcg10_lead_high": 0.5}
    expected = {"recall10": recall, "ndcg10": gain, "ndcg10_warm": of_users(ranks, KNOWN)[1], **leads}
    assert found == pytest.approx(expected, rel=1e-6)
    ((name, predictions, on, figure),) = asked
    assert (name, on, figure) == ("recent popular", split, "filtered ndcg@10 (user)")
    np.testing.assert_array_equal(predictions.user_ranks.filtered, ranks)
    # what other rules would find
    first = {e.user: e.time for e in TEST[::-1]}
    others = [
        [rank(e.user, e.item, once[e.user], filtered=False) for e in TEST],
        [rank(e.user, e.item, e.time, filtered=True) for e in TEST],
        [rank(e.user, e.item, first[e.user], filtered=True) for e in TEST],
    ]
    for other in others:
        assert abs(of_users(other, TESTED)[1] - gain) > 1e-3
    warmth = [of_users(ranks, users)[1] for users in (KNOWN, TESTED, TESTED - KNOWN)]
    assert len({round(x, 3) for x in warmth}) == 3


# Baselines


ROWS = TestRows.of(
    [e.user for e in TRAIN],
    [e.item for e in TRAIN],
    [e.user if e.user < WARM else -1 for e in TEST],
    [e.item for e in TEST],
    N,
    user_keys=[USERS[e.user] for e in TEST],
    ratings=[e.rating for e in TEST],
)
"""Cold users have no index, and a key each."""


def spread(least: float, most: float) -> np.ndarray:
    return np.round(RNG.uniform(least, most, len(TEST)))


WARM_ROWS = np.array([e.user < WARM for e in TEST])
TRUE = np.array([e.rating for e in TEST])
ENTRANTS: list[Predictions | Skipped] = [
    Predictions("early raw", ranks=Ranks(spread(1, 110), spread(3, 125))),
    Skipped("none", "it would take too long"),
    Predictions("early filtered", ranks=Ranks(spread(2, 140), spread(1, 20))),
    Predictions("late", ranks=Ranks(spread(2, 140), np.where(WARM_ROWS, spread(1, 4), 200.0))),
    Predictions("wild", ratings=TRUE + np.where(TRUE > 3, 50.0, -50.0)),
    Predictions("off where cold", ratings=np.where(WARM_ROWS, TRUE, 3.0)),
    Predictions("off", ratings=np.full(len(TEST), 3.0)),
]


def test_baseline_figures_are_the_best_of_each(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "baselines_on", lambda of: (ENTRANTS, ROWS))
    expected: dict[str, dict[str, float]] = {}

    def add(metric: str, name: str, value: Any) -> None:
        expected.setdefault(metric, {})[name] = float(value)

    for one in ENTRANTS:
        if isinstance(one, Skipped):
            continue
        if one.ranks is not None:
            raw, filtered = one.ranks.raw.tolist(), one.ranks.filtered.tolist()
            add("top100_raw", one.name, np.mean([r <= 100 for r in raw]))
            add("top100_filtered", one.name, np.mean([r <= 100 for r in filtered]))
            add("hr10", one.name, np.mean([r <= 10 for r in filtered]))
            add("ndcg10", one.name, np.mean([discounted(r, 10) for r in filtered]))
            recall, gain = of_users(filtered, TESTED)
            add("user recall10", one.name, recall)
            add("user ndcg10", one.name, gain)
            add("user ndcg10_warm", one.name, of_users(filtered, KNOWN)[1])
        if one.ratings is not None:
            errors = [
                min(max(p, LOWEST), HIGHEST) - r for p, r in zip(one.ratings.tolist(), TRUE, strict=True)
            ]
            add("rmse", one.name, np.sqrt(np.mean(np.square(errors))))
            warm = [error for error, known in zip(errors, WARM_ROWS, strict=True) if known]
            add("rmse_warm", one.name, np.sqrt(np.mean(np.square(warm))))
    best = {
        metric: (min if metric.startswith("rmse") else max)(values.items(), key=lambda one: one[1])
        for metric, values in expected.items()
    }
    found = baseline_figures(split)
    assert {metric: (one["name"], one["value"]) for metric, one in found.items()} == {
        metric: (name, pytest.approx(value)) for metric, (name, value) in best.items()
    }
    # each wins somewhere, so that none is the best of all by its place
    winners = {metric: name for metric, (name, _) in best.items()}
    assert winners["top100_raw"] == "early raw" and winners["top100_filtered"] == "early filtered"
    assert winners["user ndcg10_warm"] == "late" and winners["rmse_warm"] == "off where cold"
    assert winners["rmse"] == "wild", "what lies beyond the scale is held to it"


def test_the_scale_is_of_training(split: Split) -> None:
    assert scale_of(split) == (LOWEST, HIGHEST)
