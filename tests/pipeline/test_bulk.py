"""All shortlists and all neighbours: what one question at a time says, whoever works on how many."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from shortlist.errors import DataError, RequestError
from shortlist.index.exact import ExactIndex
from shortlist.pipeline import bulk
from shortlist.pipeline.bulk import (
    recommend_all,
    shortlists,
    similar_all,
    similar_seconds,
)
from shortlist.pipeline.ordered import in_order
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.slate import Slate
from shortlist.pipeline.stages import Utility

from .conftest import ITEM_IDS, USER_IDS

COLUMNS = ["user_id", "item_id", "rank", "score", "rating", "source"]


def table(path: Path) -> list[dict[str, Any]]:
    return pl.read_parquet(path).to_dicts()


def one_by_one(rec: Recommender, users: list[str], k: int, **filters: Any) -> list[dict[str, Any]]:
    rows = [row for user in users for row in rec.recommend(user, k, **filters)]
    return [{name: row[name] for name in COLUMNS if name in row} for row in rows]


def same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert len(found) == len(wanted) > 0
    for a, b in zip(found, wanted, strict=True):
        assert a == pytest.approx(b, abs=1e-5)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"filter_seen": False},
        {"exclude": ITEM_IDS[:9]},
        {"only": ITEM_IDS[5:20], "exclude": "i14"},
        {"where": "year > 99"},
    ],
)
def test_every_user_gets_what_they_get_alone(
    joint: Recommender, tmp_path: Path, filters: dict[str, Any]
) -> None:
    done = recommend_all(joint, tmp_path / "x.parquet", 4, block=5, **filters)
    wanted = one_by_one(joint, USER_IDS, 4, **filters)
    assert (done.answers, done.rows) == (len(USER_IDS), len(wanted))
    same(table(tmp_path / "x.parquet"), wanted)


def test_retrieval_alone_and_ranking_alone(
    joint: Recommender, ranker_only: Recommender, tmp_path: Path
) -> None:
    for number, rec in enumerate((replace(joint, ranker=None, utility=Utility()), ranker_only)):
        recommend_all(rec, tmp_path / f"{number}.parquet", 3)
        same(table(tmp_path / f"{number}.parquet"), one_by_one(rec, USER_IDS, 3))


def test_chosen_users_in_their_order_and_context(joint: Recommender, tmp_path: Path) -> None:
    users = ["u7", "nobody", "u0", "u7"]
    recommend_all(
        joint, tmp_path / "x.parquet", 4, users=users, context={"timestamp": 77, "age": 3.0}, block=3
    )
    asked = [{"user_id": user, "timestamp": 77, "age": 3.0} for user in users]
    wanted = [{name: row[name] for name in COLUMNS} for one in asked for row in joint.recommend(one, 4)]
    same(table(tmp_path / "x.parquet"), wanted)


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_threads_change_no_byte(joint: Recommender, tmp_path: Path, ending: str) -> None:
    files = []
    for threads in (1, 2, 5):
        path = tmp_path / f"{threads}{ending}"
        recommend_all(joint, path, 4, block=2, threads=threads)
        files.append(path.read_bytes())
    assert files[0] == files[1] == files[2]


def test_what_was_answered_before_changes_no_byte(
    joint: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept of questions was computed beside others, whose number the last bits depend on."""
    taken: list[Recommender] = []

    def forgetful(self: Recommender) -> Recommender:
        taken.append(replace(self))
        return taken[-1]

    monkeypatch.setattr(Recommender, "forgetful", forgetful)
    asked: list[Recommender] = []
    recommend = Recommender.recommend

    def answer(self: Recommender, *args: Any, **more: Any) -> Slate:
        asked.append(self)
        return recommend(self, *args, **more)

    monkeypatch.setattr(Recommender, "recommend", answer)
    recommend_all(joint, tmp_path / "x.csv", 4, block=5)
    list(shortlists(joint, k=3, block=5))
    assert len(taken) == 2 and {id(one) for one in asked} == {id(one) for one in taken}


def test_an_interrupted_run_goes_on(
    joint: Recommender, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommend_all(joint, tmp_path / "whole.parquet", 4, block=2)

    def stop(done: int, total: int) -> None:
        assert total == len(USER_IDS)
        if done == 6:
            raise KeyboardInterrupt

    path = tmp_path / "x.parquet"
    with pytest.raises(KeyboardInterrupt):
        recommend_all(joint, path, 4, block=2, tell=stop)
    others: dict[str, dict[str, Any]] = {
        "k was 4": {"k": 5}, "exclude": {"exclude": ["i00"]}, "bundle": {"identity": "b"},
    }  # fmt: skip
    for said, changed in others.items():
        with pytest.raises(DataError, match=said):
            recommend_all(joint, path, **{"k": 4, "block": 2, **changed})
    with pytest.raises(DataError, match="recommender"):
        recommend_all(replace(joint, num_retrieved=9), path, 4, block=2)
    asked = len(joint.ranker.asked)  # type: ignore[union-attr]
    assert recommend_all(joint, path, 4, block=2, threads=1).resumed == 6
    assert len(joint.ranker.asked) - asked == 3  # type: ignore[union-attr]
    assert path.read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_slates_of_blocks(joint: Recommender) -> None:
    slates = list(shortlists(joint, k=3, block=5, threads=2))
    assert [len(set(slate.query.tolist())) for slate in slates] == [5, 4, 2]  # one of them has seen all
    assert [row for slate in slates for row in slate] == list(joint.recommend(USER_IDS, 3))


def test_what_cannot_be_asked(joint: Recommender, tmp_path: Path) -> None:
    wrongs: dict[str, dict[str, Any]] = {
        "k must be": {"k": 0}, "no users": {"users": []}, "none": {"only": ["none"]},
    }  # fmt: skip
    for said, wrong in wrongs.items():
        with pytest.raises(RequestError, match=said):
            recommend_all(joint, tmp_path / "x.parquet", **{"k": 3, **wrong})
    assert not (tmp_path / "x.parquet").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"context": {"user_id": "u7"}}, "user_id cannot be the same for all users"),
        ({"context": {"history": ["i00"]}}, "history is what one user did"),
        ({"context": {"timestamp": 7, "history_rating": [1.0]}}, "history_rating is what one user did"),
        ({"context": [("timestamp", 7)]}, "context must be columns by name"),
        ({"block": -5}, "block must be a whole number, 0 or more, got -5"),
        ({"block": True}, "block must be a whole number"),
        ({"threads": -1}, "threads must be a whole number, 0 or more, got -1"),
        ({"threads": 1.5}, "threads must be a whole number"),
        ({"users": "u7"}, "users must be a list of user ids, got 'u7'"),
        ({"users": 7}, "users must be a list"),
        ({"users": ["u7", None]}, r"users\[1\]: expected a user id, got None"),
        ({"users": ["u7", "a\ud800"]}, r"users\[1\]: 'a\\ud800' is no text.* stands at 1"),
        ({"where": ["year > 1", "year < 9"]}, "where is one predicate for all users"),
        ({"only": [["i00"], ["i01"]]}, r"only\[0\] is \['i00'\], but only holds for all users"),
        ({"exclude": ["i00", None]}, r"exclude\[1\] is None"),
        ({"exclude": [1.5]}, r"exclude\[0\]: expected an item id"),
    ],
)
def test_what_cannot_hold_for_all_users(
    joint: Recommender, tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(RequestError, match=said):
        recommend_all(joint, tmp_path / "x.csv", **{"k": 3, "block": 2, **wrong})
    with pytest.raises(RequestError, match=said):
        list(shortlists(joint, **{"k": 3, "block": 2, **wrong}))
    if {"block", "threads"} & wrong.keys():
        with pytest.raises(RequestError, match=said):
            similar_all(joint, tmp_path / "x.csv", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_ids_are_texts_or_numbers_out_of_anything(joint: Recommender, tmp_path: Path) -> None:
    recommend_all(joint, tmp_path / "x.parquet", 1, users=iter([7, np.int64(8), "é"]), only=iter(ITEM_IDS))  # type: ignore[arg-type]
    assert [row["user_id"] for row in table(tmp_path / "x.parquet")] == ["7", "8", "é"]
    recommend_all(joint, tmp_path / "y.parquet", 1, exclude="i00", context={"timestamp": float("nan")})


@pytest.mark.parametrize("approximate", [False, True])
def test_no_items_make_a_table_of_names(joint: Recommender, tmp_path: Path, approximate: bool) -> None:
    if approximate:
        joint = replace(joint, index=Nearly.of(np.asarray(joint.item_vectors)))
    none = joint.remove_items(ITEM_IDS)
    assert similar_all(none, tmp_path / "x.csv", 3)[:2] == (0, 0)
    assert (tmp_path / "x.csv").read_text() == "item_id,neighbour_id,rank,score\n"
    assert similar_all(none, tmp_path / "x.parquet", 3).rows == 0
    assert pl.read_parquet(tmp_path / "x.parquet").columns == ["item_id", "neighbour_id", "rank", "score"]


@pytest.mark.parametrize("k", [1, 4, 40])
def test_neighbours_are_those_of_each_item(joint: Recommender, tmp_path: Path, k: int) -> None:
    done = similar_all(joint, tmp_path / "x.parquet", k, block=7)
    found = pl.read_parquet(tmp_path / "x.parquet")
    assert (done.answers, done.rows) == (len(ITEM_IDS), len(ITEM_IDS) * min(k, len(ITEM_IDS) - 1))
    for item in ITEM_IDS:
        alone, mine = joint.similar_items(item, k), found.filter(pl.col("item_id") == item)
        assert mine["rank"].to_list() == list(range(1, len(alone) + 1))
        assert item not in mine["neighbour_id"]
        score = dict(zip(alone["item_id"].tolist(), alone["score"].tolist(), strict=True))
        assert mine["score"].to_list() == pytest.approx(sorted(score.values(), reverse=True), abs=1e-6)
        for name, value in zip(mine["neighbour_id"], mine["score"], strict=True):
            assert score.get(name, min(score.values())) == pytest.approx(value, abs=1e-6)


def test_removed_items_are_nobodys_neighbours(joint: Recommender, tmp_path: Path) -> None:
    fewer = joint.remove_items(ITEM_IDS[3:9])
    similar_all(fewer, tmp_path / "x.parquet", 5)
    found = pl.read_parquet(tmp_path / "x.parquet")
    left = ITEM_IDS[:3] + ITEM_IDS[9:]
    assert found["item_id"].unique(maintain_order=True).to_list() == left
    assert set(found["neighbour_id"]) <= set(left)
    alone = fewer.similar_items("i14", 5)
    assert found.filter(item_id="i14")["score"].to_list() == pytest.approx(alone["score"].tolist(), abs=1e-6)


class Nearly(ExactIndex):
    """An index that says it is approximate, and counts what it was asked."""

    asked = 0
    looked_at: ClassVar[set[int]] = set()

    @property
    def kind(self) -> str:
        return "ann"

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "exact_below": 0, "recall_k": 0}

    def search(self, *given: Any, **more: Any) -> Any:
        Nearly.looked_at.add(given[1])
        Nearly.asked += 1
        return super().search(*given, **more)


def test_neighbours_come_out_of_an_approximate_index(joint: Recommender, tmp_path: Path) -> None:
    assert joint.item_vectors is not None
    near = replace(joint, index=Nearly.of(joint.item_vectors))
    similar_all(near, tmp_path / "x.parquet", 2)
    assert Nearly.asked > 0
    Nearly.looked_at.clear()
    found = pl.read_parquet(tmp_path / "x.parquet")
    for item in ITEM_IDS:
        alone, mine = near.similar_items(item, 2), found.filter(item_id=item)
        assert mine["score"].to_list() == pytest.approx(alone["score"].tolist(), abs=1e-6)
    similar_all(near, tmp_path / "y.csv", 2)
    assert len(Nearly.looked_at) == 1  # one at a time and all at once look at as many


def test_neighbours_without_vectors(ranker_only: Recommender, tmp_path: Path) -> None:
    similar_all(ranker_only, tmp_path / "x.csv", 2)  # by the ranker's representations
    with pytest.raises(RequestError, match="no item vectors"):
        similar_all(replace(ranker_only, item_representations=None), tmp_path / "y.csv", 2)


def test_seconds_are_those_of_a_slice(joint: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 10.25, 11.25])
    monkeypatch.setattr(bulk, "_SLICE", 3)
    monkeypatch.setattr(bulk, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert similar_seconds(joint, 2, threads=2) == pytest.approx(1.25 * len(ITEM_IDS) / 6)


def test_few_blocks_are_begun_ahead() -> None:
    begun: list[int] = []

    def work(n: int) -> int:
        begun.append(n)
        return n

    answers = in_order(work, range(100), threads=3)
    assert [next(answers), next(answers)] == [0, 1]
    assert len(begun) <= 6
    answers.close()
    assert len(begun) <= 7


def test_work_that_fails_ends_all_of_it() -> None:
    def work(n: int) -> int:
        if n == 4:
            raise RequestError("four")
        return n

    found: list[int] = []
    with pytest.raises(RequestError, match="four"):
        found.extend(in_order(work, range(50), threads=2))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bulk")]


def test_neighbours_that_share_a_vector_are_in_the_order_of_single_answers(
    joint: Recommender, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    shape = np.asarray(joint.item_vectors).shape
    vectors = rng.standard_normal((4, shape[1])).astype(np.float32)[rng.integers(0, 4, shape[0])]
    twins = replace(joint, item_vectors=vectors)
    for made in (twins, replace(twins, index=Nearly.of(vectors))):
        similar_all(made, tmp_path / "x.parquet", 7, force=True)
        found = pl.read_parquet(tmp_path / "x.parquet")
        for item in ITEM_IDS:
            alone = made.similar_items(item, 7)["item_id"].tolist()
            assert found.filter(item_id=item)["neighbour_id"].to_list() == alone
        assert len(made.similar_items("i00", 10**9)) == len(ITEM_IDS) - 1
