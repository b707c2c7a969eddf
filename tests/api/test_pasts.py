"""Models that read the past: training, serving, bundles and requests see the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import polars as pl
import pytest

import shortlist as sl
from shortlist import bundle
from shortlist.api.cases import Case
from shortlist.api.entrants import entrant, numpy_counter, with_bonus
from shortlist.api.fitting import Fitted, fit, popularity_biases, repeat_bonus
from shortlist.api.observing import observed
from shortlist.api.preparing import positions_of, prepare, user_indices
from shortlist.data.splits import Split
from shortlist.errors import DataError, RequestError, SpecError
from shortlist.features import batches
from shortlist.features.log import Log, Standing
from shortlist.pipeline.questions import query_columns
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility
from shortlist.specs.aggregates import Aggregate, Context
from shortlist.specs.features import Bag, History, Id, Normalize
from shortlist.specs.models import MultiTask, Ranker, Tower, TwoTower
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.specs.training import Training

NUM_USERS, NUM_ITEMS, ROWS = 10, 16, 240
ONCE = ["u0", "u3", "u6"]
"""Users without repeats."""
COURSE = Training(epochs=2, batch_size=64, tables="dense", seed=5)
CAUSAL = MultiTask(
    Tower(
        [
            History(length=4, dim=4, table="item", scale=1.0),
            Bag(dim=4, table="item", scale=1.0, event_dropout=0.3, l2=1e-3),
            Bag(dim=4, rated=True, length=6, scale=1.0),
            Normalize("past_gap"),
            Normalize("session_count"),
        ],
        combine="sum",
    ),
    Tower([Id("item_id", 4, scale=1.0)]),
    [
        Retrieval(seen="row", item_bias=True, learned_temperature=True),
        Rating(
            hidden=[4],
            interaction="product",
            dim=2,
            candidate=[Id("item_id", 2)],
            query=[Bag(dim=2, rated=True)],
            aggregates=[Aggregate(), Aggregate(by=["item_id"], statistic="count"), Context(what="gap")],
        ),
    ],
)


@pytest.fixture(scope="module")
def data() -> Split:
    """Rows that repeat items, several a second; test rows between the training rows, some of new users."""
    rng = np.random.default_rng(11)
    rows = pl.DataFrame(
        {
            "user_id": [f"u{u}" for u in rng.integers(0, NUM_USERS + 2, ROWS)],
            "item_id": [f"i{i}" for i in rng.integers(0, NUM_ITEMS - 2, ROWS)],
            "rating": rng.integers(1, 6, ROWS).astype(float),
            "timestamp": 1_000_000 + 600 * rng.integers(0, 60, ROWS),
        }
    )
    once = rows.filter(pl.col("user_id").is_in(ONCE)).unique(["user_id", "item_id"], keep="first")
    rows = pl.concat([rows.filter(~pl.col("user_id").is_in(ONCE)), once]).sample(
        fraction=1, shuffle=True, seed=1
    )
    known = pl.col("user_id").is_in([f"u{u}" for u in range(NUM_USERS)])
    users = pl.DataFrame({"user_id": [f"u{u}" for u in range(NUM_USERS + 2)]})
    items = pl.DataFrame({"item_id": [f"i{i}" for i in range(NUM_ITEMS)]})
    first = rows.height * 3 // 4
    train, test = rows[:first].filter(known), pl.concat([rows[first:], rows[:first].filter(~known)])
    return Split(train, train[:0], test, users, items, "given", None, "")


@pytest.fixture(scope="module")
def fitted(data: Split) -> Fitted:
    return fit(CAUSAL, data, training=COURSE)


@pytest.fixture(scope="module")
def listed(data: Split) -> Fitted:
    """The same where tables of users by items would be too large."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batches, "SPREAD_BYTES", 0)
        return fit(CAUSAL, data, training=COURSE)


@pytest.fixture(scope="module")
def live(fitted: Fitted) -> Recommender:
    return fitted.recommender(rating_weight=0.3, num_retrieved=8)


@pytest.fixture(scope="module")
def served(live: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    path = tmp_path_factory.mktemp("bundle") / "model"
    live.save(path)
    return bundle.load(path)


def test_lists_train_what_tables_train(fitted: Fitted, listed: Fitted) -> None:
    bags = {f.key for f in CAUSAL.features("query") if isinstance(f, Bag)}
    assert bags.isdisjoint(fitted.prepared.examples.query) and bags <= set(listed.prepared.examples.query)
    for name, curve in fitted.history.items():
        assert curve == pytest.approx(listed.history[name], rel=1e-4)
    one, other = (jax.tree.leaves((f.scorer.net, f.scorer.tables)) for f in (fitted, listed))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4)
    bonus = float(fitted.scorer.net.seen)  # type: ignore[arg-type]
    assert bonus != repeat_bonus(fitted.prepared, "row"), "it is learned"


# Training equals serving


def trimmed(encoded: dict[str, np.ndarray]) -> dict[str, list[Any]]:
    """Rows of every feature, lists less their padding."""
    out: dict[str, list[Any]] = {}
    for key, array in encoded.items():
        if array.ndim == 1 or "@" in key:
            continue
        rows = []
        for k, row in enumerate(array):
            kept = row >= 0 if array.dtype.kind == "i" else np.ones(len(row), bool)
            beside = [
                encoded[n][k][: kept.sum()].tolist() for n in sorted(encoded) if n.startswith(f"{key}@")
            ]
            rows.append((row[kept].tolist(), beside))
        out[key] = rows
    return out


def test_every_training_row_is_encoded_as_a_request_at_its_time_is(data: Split, listed: Fitted) -> None:
    recommender, prepared = listed.recommender(), listed.prepared
    rows = data.train
    given = {"timestamp": rows["timestamp"].to_numpy()}
    indices = user_indices(rows, prepared.users).astype(np.int64)
    columns = query_columns(recommender.schema, recommender.users, given, indices, recommender.events)
    found, expected = trimmed(prepared.encoder.query.encode(columns)), trimmed(prepared.examples.query)
    assert set(found) == {f.key for f in CAUSAL.features("query")}
    assert sum(len(row[0]) for row in found["item_id.bag"]) > ROWS
    assert found == expected

    items = positions_of(rows, data.items).astype(np.int64)
    at = Standing.of(indices, given["timestamp"])
    numbers = recommender.aggregator(at)(np.arange(len(rows)), items)
    for head, array in prepared.examples.aggregates.items():
        np.testing.assert_array_equal(numbers[head], array)


def test_predictions_of_test_rows_are_what_a_request_gets(
    data: Split, fitted: Fitted, live: Recommender, served: Recommender
) -> None:
    rows = data.test.select("user_id", "item_id", "timestamp")
    predicted = fitted.predict(data.test)["rating"]
    assert np.ptp(predicted) > 0.1
    for recommender in (live, served):
        np.testing.assert_allclose(recommender.score(rows)["rating"], predicted, rtol=1e-4, atol=1e-5)
    case = Case.of(live, data, data.test)
    vectors = live.retriever.encode_query(case.queries)[1]  # type: ignore[union-attr]
    np.testing.assert_allclose(live.query_vectors(rows.drop("item_id")), vectors, rtol=1e-5, atol=1e-6)


def requests(data: Split) -> list[dict[str, Any]]:
    times = [1_000_000, 1_020_000, None]
    asked = [{"user_id": f"u{k}", "timestamp": times[k % 3]} for k in range(NUM_USERS)]
    told = [
        {"user_id": "nobody", "history": ["i3", "never", "i1", "i3"], "timestamp": 1_030_000},
        {"history": ["i5", "i2"], "history_timestamp": [1_010_000, 1_000_600], "timestamp": 1_012_345},
        {"user_id": "u2", "history": ["i0", 7], "history_rating": [5, 1.5]},
        {"user_id": "nobody", "history": []},
        {"user_id": None},
    ]
    return [*asked, *told]


@pytest.mark.parametrize("filter_seen", [True, False])
def test_a_loaded_bundle_recommends_what_the_live_model_does(
    data: Split, live: Recommender, served: Recommender, filter_seen: bool
) -> None:
    assert served.seen_bonus == live.seen_bonus != 0
    one, other = (r.recommend(requests(data), k=6, filter_seen=filter_seen) for r in (live, served))
    assert one["item_id"].tolist() == other["item_id"].tolist()
    for name in ("score", "retrieval_score", "rating"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-4)
    assert set(one["source"]) == {"retrieval"}, "the model reads no user_id: it answers everyone"


def test_scores_are_the_log_probabilities_of_lists(data: Split, live: Recommender) -> None:
    """The bonus counts in both."""
    for asked in (requests(data)[1], requests(data)[-4]):
        slate = live.recommend(asked, k=NUM_ITEMS, filter_seen=False)
        rows = [{**asked, "item_id": item} for item in slate["item_id"]]
        np.testing.assert_allclose(live.score(rows)["log_p"], slate["retrieval_score"], rtol=1e-4, atol=1e-5)


# Histories in requests


def past_of(data: Split, user: str, until: int) -> dict[str, list[Any]]:
    """A user's events as a request tells them: the most recent first, of one second the last first."""
    rows = data.train.filter((pl.col("user_id") == user) & (pl.col("timestamp") < until))
    rows = rows.sort("timestamp", maintain_order=True).reverse()
    return {
        "history": rows["item_id"].to_list(),
        "history_timestamp": rows["timestamp"].to_list(),
        "history_rating": rows["rating"].to_list(),
    }


@pytest.mark.parametrize("until", [1_018_000, 1_000_000 + 600 * 60])
def test_a_told_history_gives_what_a_known_one_does(
    data: Split, live: Recommender, served: Recommender, until: int
) -> None:
    known = [{"user_id": f"u{k}", "timestamp": until} for k in range(NUM_USERS)]
    pasts = [past_of(data, f"u{k}", until) for k in range(NUM_USERS)]
    assert max(len(past["history"]) for past in pasts) > 6, "longer than what the model reads"
    told = [{"user_id": "nobody", "timestamp": until, **past} for past in pasts]
    for recommender in (live, served):
        np.testing.assert_array_equal(recommender.query_vectors(told), recommender.query_vectors(known))
        # to aggregates the known user, who repeats nothing, is none of the others of any event
        some = [[rows[int(user[1:])] for user in ONCE] for rows in (told, known)]
        one, other = (recommender.score([{**r, "item_id": "i15"} for r in rows])["rating"] for rows in some)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        if until > data.train["timestamp"].max():  # then what is seen is the whole past
            first, second = (recommender.recommend(rows, k=5) for rows in some)
            assert first["item_id"].tolist() == second["item_id"].tolist()
            np.testing.assert_allclose(first["score"], second["score"], rtol=1e-5)


def test_a_history_without_times_is_recent_and_without_ratings_at_par(data: Split, live: Recommender) -> None:
    asked = {"timestamp": 1_050_000, "history": ["i3", "i1", "i2"]}
    times = [1_050_000 - 60 * k for k in (1, 2, 3)]
    vectors = [live.query_vectors({**asked, **more}) for more in ({}, {"history_timestamp": times})]
    np.testing.assert_array_equal(*vectors)
    log, events = Log.of(np.zeros(3, int), np.array([3, 1, 2]), np.array(times), None, 1)[0], live.events
    assert events is not None
    par = events.at_par(log).ratings
    assert par is not None
    train = data.train.filter(pl.col("item_id") == "i3")["rating"].to_list()
    mean = data.train["rating"].mean()
    assert par[-1] == pytest.approx(mean + (sum(train) - len(train) * mean) / (len(train) + 5), rel=1e-5)
    plain, rated = (
        live.score({**asked, **more, "item_id": "i4"})["rating"]
        for more in ({}, {"history_rating": par[::-1].tolist()})
    )
    np.testing.assert_allclose(plain, rated, rtol=1e-5)


def test_a_told_history_is_what_was_seen(live: Recommender) -> None:
    slate = live.recommend({"user_id": "u1", "history": ["i3", "i5"]}, k=NUM_ITEMS)
    assert {"i3", "i5"}.isdisjoint(slate["item_id"]) and len(slate) == NUM_ITEMS - 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"history": "i1"}, "row 1, column 'history': expected a list of texts, got 'i1'"),
        ({"history": ["i1", 2.5]}, "row 1, column 'history'"),
        ({"history": ["i1", True]}, "row 1, column 'history'"),
        ({"history": ["i1"], "history_timestamp": [1, 2]}, "row 1, column 'history_timestamp': 2 values for"),
        ({"history": ["i1", "i2"], "history_timestamp": [1]}, "row 1, column 'history_timestamp': 1 values"),
        ({"history_timestamp": [1]}, "row 1, column 'history_timestamp': 1 values for a history of 0 items"),
        (
            {"history": ["i1"], "history_timestamp": [1.5]},
            "row 1, column 'history_timestamp', index 0: expected a whole number",
        ),
        ({"history": ["i1"], "history_timestamp": 7}, "row 1, column 'history_timestamp': expected a list"),
        ({"history": ["i1"], "history_rating": ["good"]}, "row 1, column 'history_rating', index 0: "),
        ({"history": ["i1"], "history_rating": [float("inf")]}, "row 1, column 'history_rating', index 0"),
        (
            {"history": ["i1", "i2", "i3"], "history_rating": [4, float("nan"), 3]},
            "row 1, column 'history_rating', index 1: expected a finite number, got nan",
        ),
        ({"histroy": ["i1"]}, "unknown column 'histroy'"),
    ],
    ids=str,
)
def test_malformed_histories(live: Recommender, row: dict[str, Any], message: str) -> None:
    rows = [{"user_id": "u1", "history": ["i0"], "history_timestamp": [3], "history_rating": [2]}, row]
    with pytest.raises(RequestError, match=message.replace("(", r"\(")):
        live.recommend(rows)


# Who had an item


def test_who_had_an_item_is_the_same_in_training_and_in_requests(data: Split, tmp_path: Path) -> None:
    bags = [Bag(column="user_id", dim=2, rated=True, scale=1.0), Bag(column="user_id", dim=2, scale=1.0)]
    head = Rating(hidden=[], interaction="product", dim=2, candidate=bags)
    model = Ranker(Tower([Normalize("past_count")], out=3), Tower([Id("item_id", 3)]), [head])
    fitted = fit(model, data, training=COURSE)
    live = fitted.recommender()
    live.save(tmp_path / "model")
    rows = data.test.select("user_id", "item_id", "timestamp")
    predicted = fitted.predict(data.test)["rating"]
    assert np.ptp(predicted) > 0.1
    moved = fitted.predict(data.test.with_columns(pl.col("timestamp") + 10**6))["rating"]
    assert np.abs(moved - predicted).max() > 1e-3, "what is earlier depends on the time"
    for recommender in (live, bundle.load(tmp_path / "model")):
        np.testing.assert_allclose(recommender.score(rows)["rating"], predicted, rtol=1e-4, atol=1e-5)
    case = Case.of(live, data, data.test)
    own = entrant(live, case, numpy_counter, "ours")
    np.testing.assert_allclose(own.ratings, predicted, rtol=1e-4, atol=1e-5)


# Events since training


def test_observed_events_are_what_a_history_tells(data: Split, live: Recommender) -> None:
    more = pl.DataFrame(
        {
            "user_id": ["new", "u0", "new", "new"],
            "item_id": ["i3", "i1", "i9", "i15"],
            "rating": [5.0, 2.0, 1.0, 3.0],
            "timestamp": [1_040_000, 1_041_000, 1_042_000, 1_043_000],
        }
    )
    grown = observed(live, more)
    assert (grown.users.as_of, len(grown.users), len(live.users)) == (1_043_001, NUM_USERS + 1, NUM_USERS)
    told = {
        "history": ["i15", "i9", "i3"],
        "history_rating": [3, 1, 5],
        "history_timestamp": [1_043_000, 1_042_000, 1_040_000],
    }
    plain = [replace(r, ranker=None, utility=Utility()) for r in (grown, live)]
    one, other = plain[0].recommend("new", k=6), plain[1].recommend({**told, "timestamp": 1_043_001}, k=6)
    assert one["item_id"].tolist() == other["item_id"].tolist()
    np.testing.assert_allclose(one["retrieval_score"], other["retrieval_score"], rtol=1e-4, atol=1e-5)
    before = past_of(data, "u0", 1_041_000)
    full = {
        name: [value, *before[name]]
        for name, value in {"history": "i1", "history_rating": 2, "history_timestamp": 1_041_000}.items()
    }
    np.testing.assert_array_equal(
        grown.query_vectors("u0"), live.query_vectors({**full, "timestamp": 1_041_001})
    )
    assert "i1" not in grown.recommend("u0", k=NUM_ITEMS)["item_id"]
    np.testing.assert_array_equal(grown.query_vectors("u2"), live.query_vectors("u2"))


@pytest.mark.parametrize("column", ["timestamp", "rating"])
def test_observed_events_need_what_training_had(data: Split, live: Recommender, column: str) -> None:
    with pytest.raises(DataError, match=f"no column '{column}'"):
        observed(live, data.test.drop(column))


# Ranks with the learned bonus


@pytest.mark.parametrize("as_of", ["row", "leave-one-out"])
@pytest.mark.parametrize("part", ["test", "train"])
def test_raw_ranks_with_the_bonus(
    data: Split, live: Recommender, as_of: Any, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole numbers make ties, and sums without rounding; a block's edge falls between rows."""
    monkeypatch.setattr("shortlist.api.entrants.BONUS_ROWS", 17)
    rows = data.test if part == "test" else data.train
    rng = np.random.default_rng(4)
    items = rng.integers(-2, 3, (NUM_ITEMS, 2)).astype(np.float32)
    queries = rng.integers(-2, 3, (rows.height, 2)).astype(np.float32)
    recommender = replace(live, item_vectors=items, seen_as_of=as_of)
    at = Case.of(recommender, data, rows).at
    assert at is not None
    targets = positions_of(rows, data.items)
    raw = np.array([rank_of(queries[k] @ items.T, t) for k, t in enumerate(targets)])
    found = with_bonus(recommender, at, queries, targets, raw, 2.0)
    train, expected, own = data.train.to_dicts(), [], 0
    for k, row in enumerate(rows.to_dicts()):
        mine = [e for e in train if e["user_id"] == row["user_id"]]
        if as_of == "row":
            mine = [e for e in mine if e["timestamp"] < row["timestamp"]]
        elif part == "train":
            mine = [e for e in mine if e["item_id"] != row["item_id"]]
        scores = queries[k] @ items.T
        had = sorted({int(e["item_id"][1:]) for e in mine})
        scores[had] += 2
        own += int(targets[k] in had)
        expected.append(rank_of(scores, targets[k]))
    np.testing.assert_array_equal(found, expected)
    assert (found != raw).any() and (own > 0) == (as_of == "row" or part == "test")


def rank_of(scores: np.ndarray, target: int) -> float:
    others = np.delete(scores, target)
    return 1 + float((others > scores[target]).sum()) + float((others == scores[target]).sum()) / 2


# What learning starts from


def test_biases_start_at_popularity(data: Split, fitted: Fitted) -> None:
    tables = popularity_biases(CAUSAL, fitted.prepared)
    assert set(tables) == {"candidate/item_id.id#retrieval"}
    table = np.asarray(tables["candidate/item_id.id#retrieval"])[:, 0]
    counts = np.array([(data.train["item_id"] == f"i{k}").sum() for k in range(NUM_ITEMS)]) + 1.0
    logs = np.log(counts / counts.sum())
    slots = fitted.prepared.catalogue.items["item_id.id"]
    trained = counts > 1
    np.testing.assert_allclose(table[slots[trained]], (logs - logs.mean())[trained], rtol=1e-5, atol=1e-6)
    assert table[0] == pytest.approx(logs.min() - logs.mean()), "an item nobody chose"
    assert popularity_biases(TwoTower(CAUSAL.query, CAUSAL.candidate), fitted.prepared) == {}


@pytest.mark.parametrize("again", [0.0, 0.3, 0.99])
def test_the_bonus_starts_at_how_often_people_come_back(again: float) -> None:
    rng = np.random.default_rng(1)
    users, items = rng.integers(0, 8, 400), rng.permutation(400) % 60
    last: dict[int, list[int]] = {}
    for k, user in enumerate(users):
        mine = last.setdefault(user, [])
        if mine and rng.random() < again:
            items[k] = rng.choice(mine)
        elif again == 0:
            items[k] = next(i for i in rng.permutation(200) if i not in mine)
        mine.append(items[k])
    rows = pl.DataFrame(
        {
            "user_id": users.astype(str),
            "item_id": items.astype(str),
            "rating": np.ones(400),
            "timestamp": np.arange(400) // 2,
        }
    )
    people, things = (rows.select(name).unique(maintain_order=True) for name in ("user_id", "item_id"))
    split = Split(rows, rows[:0], rows[:0], people, things, "given", None, "")
    model = TwoTower(
        Tower([Normalize("past_count")], out=2), Tower([Id("item_id", 2)]), Retrieval(seen="row")
    )
    counts = {item: int((items == item).sum()) for item in items.tolist()}
    found = expected = 0.0
    for k in range(400):
        before = {int(i) for i in items[(users == users[k]) & (np.arange(400) // 2 < k // 2)]}
        expected += sum(counts[i] for i in before) / 400
        found += items[k] in before
    start = repeat_bonus(prepare(model, split), "row")
    assert start == pytest.approx(np.clip(np.log((found + 0.5) / (expected + 0.5)), -8, 8), rel=1e-5)
    assert np.sign(start) == (1 if again else -1)


# What cannot be


def test_what_came_earlier_needs_times(data: Split) -> None:
    timeless = replace(data, train=data.train.drop("timestamp"))
    item = Tower([Id("item_id", 2)])
    for query, task in (
        (Tower([History(dim=2)]), Retrieval()),
        (Tower([Bag(dim=2)]), Retrieval()),
        (Tower([Id("user_id", 2)]), Retrieval(seen="row")),
        (Tower([Id("user_id", 2)]), Rating(aggregates=[Aggregate()])),
    ):
        with pytest.raises(DataError, match="have no timestamp column"):
            prepare(MultiTask(query, item, [task]), timeless)
    prepare(TwoTower(Tower([Bag(dim=2, as_of="leave-one-out")]), item), timeless)


def test_rated_bags_and_aggregates_need_ratings(data: Split) -> None:
    unrated = replace(data, train=data.train.drop("rating").with_columns(label=pl.lit(1.0)))
    item, head = Tower([Id("item_id", 2)]), Rating("label", aggregates=[Aggregate()])
    rated = MultiTask(Tower([Bag(dim=2, rated=True)]), item, [Retrieval()])
    for model in (rated, MultiTask(Tower([Id("user_id", 2)]), item, [head])):
        with pytest.raises(DataError, match="no rating column"):
            prepare(model, unrated)
    prepare(TwoTower(Tower([Bag(dim=2)]), item), unrated)


@pytest.mark.parametrize(
    ("features", "task", "named"),
    [
        ([History(dim=2)], Retrieval(), r"History\('item_id'\)"),
        ([Id("user_id", 2), Bag(dim=2, as_of="leave-one-out")], Retrieval(), r"Bag\('item_id'\)"),
        ([Id("user_id", 2), Normalize("past_gap")], Retrieval(), r"Normalize\('past_gap'\)"),
        ([Id("user_id", 2)], Retrieval(seen="row"), r"Retrieval\(seen='row'\)"),
        ([Id("user_id", 2)], Rating(aggregates=[Aggregate()]), "the aggregate 'aggregate' of 'rating'"),
    ],
)
def test_rows_on_disk_have_no_past(
    data: Split, tmp_path: Path, features: list[Any], task: Any, named: str
) -> None:
    model = MultiTask(Tower(features), Tower([Id("item_id", 2)]), [task])
    with pytest.raises(SpecError, match=f"{named} looks at other rows") as error:
        sl.encode(model, data.train.lazy(), tmp_path / "rows", rating="rating", timestamp="timestamp")
    assert "fit(model, split)" in str(error.value.hint)
    assert not any(tmp_path.iterdir())
