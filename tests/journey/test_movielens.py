"""The whole journey on MovieLens 100K: fit, evaluate, recommend, save, load, and the same answers again."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import shortlist as sl
from shortlist.api.fitting import Fitted
from shortlist.evaluation import suite
from shortlist.evaluation.report import Report
from shortlist.pipeline.stages import Utility

NUM_USERS, NUM_ITEMS = 943, 1682
CLOSE = 1e-5
"""How far scores may lie apart between JAX and ONNX Runtime; items may trade places only within it."""


def by_user(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["user_id"]].append(row)
    return found


def assert_same_slates(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Equal ids, but where scores lie within CLOSE of each other; equal scores within CLOSE."""
    first, second = by_user(ours), by_user(theirs)
    assert list(first) == list(second)
    for user, rows in first.items():
        others = second[user]
        assert len(rows) == len(others)
        for a, b in zip(rows, others, strict=True):
            assert abs(a["score"] - b["score"]) <= CLOSE * max(1.0, abs(a["score"])), (user, a, b)
            assert (a["rank"], a["source"]) == (b["rank"], b["source"])
            if a["item_id"] != b["item_id"]:
                near = [r["score"] for r in rows if abs(r["score"] - a["score"]) <= CLOSE]
                assert len(near) > 1 or a is rows[-1], (user, a, b)


def assert_same_answers(before: sl.Recommender, path: Path, rows: pl.DataFrame) -> sl.Recommender:
    """Saved, loaded and asked everything, the answers are those of before."""
    before.save(path)
    after = sl.load(path)
    users = rows["user_id"].unique(maintain_order=True).to_list()
    assert_same_slates(before.recommend(users, k=8).to_dicts(), after.recommend(users, k=8).to_dicts())
    pairs = rows.select([name for name in rows.columns if name not in ("rating", "weight")])
    scores = [recommender.score(pairs).columns for recommender in (before, after)]
    assert list(scores[0]) == list(scores[1])
    for name in set(scores[0]) - {"user_id", "item_id"}:
        np.testing.assert_allclose(scores[0][name], scores[1][name], rtol=CLOSE, atol=CLOSE)
    item = rows["item_id"][0]
    near = [recommender.similar_items(item, 20)["score"] for recommender in (before, after)]
    np.testing.assert_allclose(near[0], near[1], atol=CLOSE)
    return after


# From a trained model to a bundle and back


def test_two_epochs_beat_the_tutorials(trained: Fitted, report: Report) -> None:
    assert trained.history["loss of rating"][1] < trained.history["loss of rating"][0]
    assert report.figure("Shortlist", "raw hit_rate@100 (row)").value > 0.25
    assert report.figure("Shortlist", "rmse").value < 1.0


def test_slates_of_every_user_are_the_same_without_jax_and_polars(
    recommender: sl.Recommender, bundle: Path, tmp_path: Path
) -> None:
    users = [str(user) for user in range(1, NUM_USERS + 1)]
    code = (
        "import json, sys\n"
        "import shortlist\n"
        "loaded = shortlist.load(sys.argv[1])\n"
        "users = [str(user) for user in range(1, int(sys.argv[2]) + 1)]\n"
        "slate = loaded.recommend(users, k=10).to_dicts()\n"
        "scores = loaded.score([{'user_id': u, 'item_id': '50'} for u in users]).to_dicts()\n"
        "near = loaded.similar_items('50', 10).to_dicts()\n"
        "heavy = sorted({'jax', 'polars', 'equinox', 'scipy', 'onnx', 'optax'} & {*sys.modules})\n"
        "print(json.dumps([slate, scores, near, heavy]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(bundle), str(NUM_USERS)],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    slate, scores, near, heavy = json.loads(done.stdout)
    assert heavy == []
    ours = recommender.recommend(users, k=10).to_dicts()
    assert len(ours) == 10 * NUM_USERS
    assert_same_slates(ours, slate)
    asked = recommender.score([{"user_id": user, "item_id": "50"} for user in users]).to_dicts()
    for a, b in zip(asked, scores, strict=True):
        assert (a.pop("user_id"), a.pop("item_id")) == (b.pop("user_id"), b.pop("item_id"))
        assert a == pytest.approx(b, rel=CLOSE, abs=CLOSE)
    expected = recommender.similar_items("50", 10).to_dicts()
    assert [row["item_id"] for row in near] == [row["item_id"] for row in expected]
    assert [row["score"] for row in near] == pytest.approx([row["score"] for row in expected], abs=CLOSE)


def test_scores_of_every_test_row_survive(
    trained: Fitted, recommender: sl.Recommender, loaded: sl.Recommender, split: sl.Split
) -> None:
    rows = split.test.drop("rating")
    before, after = recommender.score(rows), loaded.score(rows)
    for name in ("rating", "log_p"):
        np.testing.assert_allclose(before[name], after[name], rtol=CLOSE, atol=CLOSE)
    np.testing.assert_allclose(trained.predict(split.test)["rating"], after["rating"], rtol=CLOSE, atol=CLOSE)


def test_log_p_is_a_probability_over_the_catalogue(loaded: sl.Recommender, split: sl.Split) -> None:
    everything = [{"user_id": "42", "item_id": item} for item in split.items["item_id"]]
    assert np.exp(loaded.score(everything)["log_p"].astype(np.float64)).sum() == pytest.approx(1, abs=1e-4)


def test_the_order_is_the_declared_utility(loaded: sl.Recommender) -> None:
    slate = loaded.recommend("42", k=50)
    assert loaded.utility.rating_weight == 0.3
    expected = slate["retrieval_score"].astype(np.float64) + 0.3 * slate["rating"]
    np.testing.assert_allclose(slate["score"], expected, rtol=1e-6)
    assert (np.diff(slate["score"]) <= 0).all()
    scored = loaded.score([{"user_id": "42", "item_id": item} for item in slate["item_id"]])
    np.testing.assert_allclose(scored["log_p"], slate["retrieval_score"], atol=1e-4)
    np.testing.assert_allclose(scored["rating"], slate["rating"], atol=CLOSE)


def test_what_was_seen_or_excluded_never_returns(loaded: sl.Recommender, split: sl.Split) -> None:
    """All users, as many items as there are: exactly the rest comes back, each once. Ranking only orders what
    is retrieved, so a tenth of the users shows that it loses and adds nothing."""
    retrieving = replace(loaded, ranker=None, utility=Utility())
    seen: dict[str, set[str]] = defaultdict(set)
    for user, item in split.train.select("user_id", "item_id").iter_rows():
        seen[user].add(item)
    catalogue, excluded = set(split.items["item_id"]), {"50", "100", "181", "258"}
    users = [str(user) for user in range(1, NUM_USERS + 1)]
    for start in range(0, NUM_USERS, 200):
        slate = retrieving.recommend(users[start : start + 200], k=NUM_ITEMS, exclude=excluded)
        items = np.split(slate["item_id"], np.flatnonzero(np.diff(slate.query)) + 1)
        for user, got in zip(users[start : start + 200], items, strict=True):
            assert len(got) == len(set(got))
            assert set(got) == catalogue - seen[user] - excluded
    some = users[::10]
    slate = loaded.recommend(some, k=NUM_ITEMS, exclude=excluded)
    for query, user in enumerate(some):
        assert sorted(slate.of(query)["item_id"]) == sorted(catalogue - seen[user] - excluded)
    kept = loaded.recommend("42", k=NUM_ITEMS + 1000, filter_seen=False)
    assert len(kept) == NUM_ITEMS
    only = loaded.recommend("42", k=10, only=sorted(excluded | {"1"}), filter_seen=False, exclude=["50"])
    assert set(only["item_id"]) == (excluded | {"1"}) - {"50"}


def test_unknown_users_get_what_is_popular(loaded: sl.Recommender, split: sl.Split) -> None:
    counts = Counter(split.train["item_id"])
    order = sorted(split.items["item_id"], key=lambda item: -counts[item])  # stable: catalogue order on ties
    slate = loaded.recommend(["nobody", "42"], k=12)
    assert slate.of(0)["item_id"].tolist() == order[:12]
    assert set(slate.of(0)["source"]) == {"popular"} and set(slate.of(1)["source"]) == {"retrieval"}
    fewer = loaded.recommend("nobody", k=3, exclude=order[0])
    assert fewer["item_id"].tolist() == order[1:4]


def test_unknown_users_and_items_are_still_rated(loaded: sl.Recommender, recommender: sl.Recommender) -> None:
    rows = [
        {"user_id": "nobody", "item_id": "50"},
        {"user_id": "42", "item_id": "nothing"},
        {"user_id": "nobody", "item_id": "nothing"},
        {"user_id": "42", "item_id": "nothing", "title": "Star Wars (1977)", "timestamp": 880_000_000},
    ]
    before, after = recommender.score(rows), loaded.score(rows)
    for name in ("rating", "log_p"):
        assert np.isfinite(after[name]).all()
        np.testing.assert_allclose(before[name], after[name], rtol=CLOSE, atol=CLOSE)
    assert ((after["rating"] > 0) & (after["rating"] < 6)).all()
    assert after["rating"][1] != after["rating"][3]


# Reports


@pytest.fixture(scope="module")
def judged(loaded: sl.Recommender, split: sl.Split) -> Report:
    """The loaded bundle judged by NumPy, beside popularity alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "RETRIEVAL_GRIDS", suite.RETRIEVAL_GRIDS[:1])
        patch.setattr(suite, "RATING_GRIDS", ())
        return sl.evaluate(loaded, split=split, resamples=50)


def test_a_compiled_counter_and_numpy_find_the_same_figures(report: Report, judged: Report) -> None:
    ours, theirs = ({e.name: e for e in found.entries}["Shortlist"] for found in (report, judged))
    assert set(ours.figures) == set(theirs.figures)
    names = {f"{policy} {metric}@{k} (user)" for policy in ("raw", "filtered") for k in (10, 100)
             for metric in ("ndcg", "recall", "hit_rate", "mrr")}  # fmt: skip
    assert names | {"rmse", "mae"} < set(ours.figures)
    for name, figure in ours.figures.items():
        found = theirs.figures[name]
        # a float's last bit may swap two items for a row or two of 20,000
        for part in ("value", "low", "high"):
            assert getattr(found, part) == pytest.approx(getattr(figure, part), abs=1e-4), name
    for name, one in report.stages.items():
        if name.startswith("two stages"):
            continue  # the loaded one was saved with a rating weight of its own
        assert judged.stages[name] == pytest.approx(one, abs=1e-4), name


def naive_popularity(split: sl.Split, ks: tuple[int, ...]) -> dict[str, float]:
    """Every figure of the popularity baseline, from the raw table: a list for everybody, and each user's
    list without what that user has. Equal counts go by the catalogue's order."""
    counts = Counter(split.train["item_id"])
    order = sorted(split.items["item_id"], key=lambda item: -counts[item])
    place = {item: number for number, item in enumerate(order, 1)}
    seen: dict[str, set[str]] = defaultdict(set)
    for user, item in split.train.select("user_id", "item_id").iter_rows():
        seen[user].add(item)
    out: dict[str, list[float]] = defaultdict(list)
    placed: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for user, item in split.test.select("user_id", "item_id").iter_rows():
        before = sum(place[other] < place[item] for other in seen[user])
        for policy, rank in (("raw", place[item]), ("filtered", place[item] - before)):
            placed[policy, user][item] = rank
            for k in ks:
                out[f"{policy} hit_rate@{k} (row)"].append(rank <= k)
    for policy, user in placed:
        ranks = list(placed[policy, user].values())
        for k in ks:
            hits = [rank for rank in ranks if rank <= k]
            ideal = sum(1 / math.log2(2 + place) for place in range(min(k, len(ranks))))
            out[f"{policy} ndcg@{k} (user)"].append(sum(1 / math.log2(1 + r) for r in hits) / ideal)
            out[f"{policy} recall@{k} (user)"].append(len(hits) / len(ranks))
            out[f"{policy} hit_rate@{k} (user)"].append(bool(hits))
            out[f"{policy} mrr@{k} (user)"].append(1 / min(hits) if hits else 0.0)
    return {name: sum(values) / len(values) for name, values in out.items()}


def test_popularity_counted_by_hand_is_popularity_reported(judged: Report, split: sl.Split) -> None:
    expected = naive_popularity(split, (10, 100))
    assert len(expected) == 20
    for name, value in expected.items():
        assert judged.figure("popular", name).value == pytest.approx(value, abs=1e-12), name


def test_a_whole_report(joint: Fitted, small_split: sl.Split) -> None:
    told: list[str] = []
    report = sl.evaluate(joint, k=(5, 20), resamples=50, tell=lambda stage, done, total: told.append(stage))
    names = [entry.name for entry in report.entries]
    retrieving = ["popular", "recent popular", "item-kNN", "EASE", "iALS"]
    assert [*names[:5], names[-1]] == [*retrieving, "Shortlist"] and len(names) == 8
    assert report.skipped == ()
    assert set(told) >= set(retrieving)
    assert report.headline == ("filtered ndcg@5 (user)", "filtered hit_rate@20 (row)", "rmse")
    assert [verdict.metric for verdict in report.verdicts] == list(report.headline)
    for verdict in report.verdicts:
        excludes_zero = verdict.difference.low > 0 or verdict.difference.high < 0
        assert excludes_zero == (verdict.verdict != "no difference shown")
        assert verdict.sentence in " ".join(str(report).split()) or verdict.metric in str(report)
    assert {part.name for part in report.slices} >= {"head items (most frequent 20 %)", "tail items"}
    assert {
        "retrieval only",
        "two stages, rating weight 0",
        "two stages, rating weight 0, no context given",
        "recall ceiling@100",
    } == set(report.stages)
    assert report.history.keys() == joint.history.keys()
    for word in (*names, "seen items", "ties", "95 %", "retrieval only", "tail items"):
        assert word in str(report), word
    assert report._repr_html_().count("<svg") >= 1
    best = max(report.entries[:5], key=lambda e: e.figures[report.headline[0]].value)
    assert report.verdicts[0].baseline == best.name
    assert json.loads(report.to_json())["protocol"]["split"] == small_split.rule


# Every kind of model


def test_retrieval_alone(retrieval_alone: Fitted, small_split: sl.Split, tmp_path: Path) -> None:
    loaded = assert_same_answers(retrieval_alone.recommender(), tmp_path / "bundle", small_split.test)
    assert {p.name for p in (tmp_path / "bundle").iterdir()} == {
        "MODEL_CARD.md",
        "manifest.json",
        "recommend.onnx",
        "train",
        "retrieval",
        "items",
        "users",
    }
    assert loaded.ranker is None
    slate = loaded.recommend(small_split.test["user_id"][0])
    assert "rating" not in slate.columns
    np.testing.assert_allclose(slate["score"], slate["retrieval_score"])


def test_ranking_alone(ranking_alone: Fitted, small_split: sl.Split, tmp_path: Path) -> None:
    loaded = assert_same_answers(ranking_alone.recommender(), tmp_path / "bundle", small_split.test)
    assert {p.name for p in (tmp_path / "bundle").iterdir()} == {
        "MODEL_CARD.md",
        "manifest.json",
        "recommend.onnx",
        "ranking",
        "items",
        "users",
        "train",
    }
    assert loaded.retriever is None
    slate = loaded.recommend(small_split.test["user_id"][0])
    np.testing.assert_allclose(slate["score"], slate["rating"], rtol=1e-6)
    assert "log_p" not in loaded.score({"user_id": "1", "item_id": "50"}).columns


def test_trained_apart_and_combined(
    retrieval_alone: Fitted, ranking_alone: Fitted, small_split: sl.Split, tmp_path: Path
) -> None:
    both = sl.combine(retrieval_alone, ranking_alone, rating_weight=0.5, num_retrieved=30)
    loaded = assert_same_answers(both, tmp_path / "bundle", small_split.test)
    parts = {"retrieval", "ranking", "items", "users", "train"}
    names = parts | {"MODEL_CARD.md", "manifest.json", "recommend.onnx"}
    assert {p.name for p in (tmp_path / "bundle").iterdir()} == names
    assert (loaded.utility, loaded.num_retrieved) == (both.utility, 30)
    rows = small_split.test.drop("rating")
    first, second = retrieval_alone.recommender().score(rows), ranking_alone.recommender().score(rows)
    np.testing.assert_allclose(loaded.score(rows)["log_p"], first["log_p"], rtol=CLOSE, atol=CLOSE)
    np.testing.assert_allclose(loaded.score(rows)["rating"], second["rating"], rtol=CLOSE, atol=CLOSE)
    split = retrieval_alone.split
    reports = [sl.evaluate(r, split=split, baselines=False, k=(5,), resamples=20) for r in (both, loaded)]
    for name, figure in reports[0].entries[0].figures.items():
        assert reports[1].figure("Shortlist", name).value == pytest.approx(figure.value, abs=1e-4), name
    assert "two stages, rating weight 0.5" in reports[0].stages


def test_a_tower_and_a_task_of_ones_own(custom: Fitted, small_split: sl.Split, tmp_path: Path) -> None:
    loaded = assert_same_answers(custom.recommender(rating_weight=0.2), tmp_path / "bundle", small_split.test)
    slate = loaded.recommend(small_split.test["user_id"][0], k=5)
    assert "huber" in slate.columns and loaded.utility.head == "huber"
    expected = slate["retrieval_score"].astype(np.float64) + 0.2 * slate["huber"]
    np.testing.assert_allclose(slate["score"], expected, rtol=1e-6)
    report = sl.evaluate(loaded, split=small_split, baselines=False, k=(5,), resamples=20)
    assert "filtered ndcg@5 (user)" in report.entries[0].figures


def test_a_bundle_saved_again_is_the_same_bundle(
    loaded: sl.Recommender, bundle: Path, tmp_path: Path
) -> None:
    loaded.save(tmp_path / "again")
    first, second = (json.loads((p / "manifest.json").read_text()) for p in (bundle, tmp_path / "again"))
    assert first["files"] == second["files"]
    assert {k: v for k, v in first.items() if k != "digest"} == {
        k: v for k, v in second.items() if k != "digest"
    }
