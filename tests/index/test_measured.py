"""What an approximate index says of itself holds: of few items, of vectors that repeat, of what is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist import index as indexes
from shortlist._typing import Floats
from shortlist.errors import RequestError
from shortlist.index import build as building
from shortlist.index.ann import AnnIndex
from shortlist.index.build import build, choose, overlap
from shortlist.state.storage import save_json

pytest.importorskip("faiss")


def cloud(seed: int, rows: int, width: int = 12) -> Floats:
    made = np.random.default_rng(seed).standard_normal((rows, width))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def made(vectors: Floats, **options: Any) -> AnnIndex:
    index = build(vectors, "ann", **options)
    assert isinstance(index, AnnIndex)
    return index


def test_few_items_are_measured_by_their_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the recall holds when there are more than are searched exactly."""
    monkeypatch.setattr(building, "_FEW", 1500)
    index = made(cloud(0, 1500), queries=cloud(1, 200))
    assert index.tuned.nprobe(1.0) > 5 and 0.9 < index.tuned.recall < 1
    told = index.describe()
    assert (told["recall"], told["recall_of_lists"]) == (1.0, index.tuned.recall)
    more = index.updated(np.array([1500]), cloud(2, 1))
    assert more.describe()["recall"] == index.tuned.recall
    asked = cloud(3, 100)
    right = more.exact.search(asked, 100).positions
    assert overlap(more.search(asked, 100).positions, right) == pytest.approx(index.tuned.recall, abs=0.03)


def test_what_is_removed_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "_FEW", 100)
    monkeypatch.setattr(building, "_DEPTH", 10)
    vectors, asked = cloud(0, 2000), cloud(1, 100)
    gone = np.unique(build(vectors).search(asked, 10).positions)
    index = made(vectors, queries=asked, removed=gone)
    assert np.array_equal(index.removed, gone) and index.tuned.recall > 0.9
    assert not np.isin(index.search(asked, 10).positions, gone).any()


def test_recall_is_measured_on_queries_it_was_not_tuned_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tuned: list[Floats] = []
    measured: list[Floats] = []
    monkeypatch.setattr(building, "_FEW", 100)
    monkeypatch.setattr(building, "_tuned", lambda index, asked, rng: (tuned.append(asked), index.tuned)[1])
    monkeypatch.setattr(building, "_measured", lambda index, asked: (measured.append(asked), index.tuned)[1])
    asked = cloud(1, 61)
    made(cloud(0, 500), queries=asked)
    both = np.concatenate([tuned[0], measured[0]])
    assert len(tuned[0]) == 30 and len(np.unique(both, axis=0)) == len(both) == 61
    assert np.array_equal(np.unique(both, axis=0), np.unique(asked, axis=0))


@pytest.mark.parametrize("distinct", [1, 5, 40])
def test_vectors_that_repeat(distinct: int, tmp_path: Path) -> None:
    vectors, asked = cloud(0, distinct)[np.arange(2000) % distinct], cloud(1, 60)
    index = made(vectors, queries=asked)
    assert len(np.unique(index.lists.list_of)) == index.lists.num_lists  # none is empty
    assert index.tuned.recall == 1.0  # of those that tie any will do
    assert np.isfinite(index.log_z(asked)).all() and np.isfinite(index.tuned.log_z_error)
    index.save(tmp_path / "index")
    again = indexes.load(tmp_path / "index", vectors)
    assert np.array_equal(again.log_z(asked), index.log_z(asked))


def test_log_sum_exp_where_nothing_is_found() -> None:
    """In lists that hold nothing any more the sample has all there is; of no item at all it is -inf."""
    vectors, asked = cloud(0, 600), cloud(1, 20)
    index = made(vectors, queries=asked)
    one = int(index.sample[0])
    left = index.without(np.setdiff1d(np.arange(600), [one]))
    near = index.lists.probe(asked, 600, index.tuned.nprobe(1.0))
    assert not (near == one).any(axis=1).all()  # some queries look into other lists only
    assert np.isfinite(left.log_z(asked)).all()
    assert np.isneginf(index.without(np.arange(600)).log_z(asked)).all()


def test_numbers_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"x\.json: tuned: probes\[1\] cannot hold"):
            save_json(tmp_path / "x.json", {"tuned": {"probes": [1.0, value]}})
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("latency", [float("nan"), -3.0, 0.0, float("inf")])
def test_a_latency_without_meaning(latency: float) -> None:
    for kind in ("auto", "exact", "ann"):
        with pytest.raises(RequestError, match="latency_ms is"):
            choose(10, 4, kind, latency_ms=latency)


@pytest.mark.parametrize("recall", [7.0, 0.0, float("nan")])
def test_a_recall_without_meaning(recall: float) -> None:
    with pytest.raises(RequestError, match="recall is"):
        build(cloud(0, 10), "exact", recall=recall)


def test_a_mask_is_not_taken_for_another_that_had_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is of one array, not of whatever has its id later."""
    monkeypatch.setattr(building, "_FEW", 50)
    monkeypatch.setattr(building, "_DEPTH", 5)
    index = made(cloud(0, 1000), queries=cloud(1, 40))
    first, second = np.arange(1000) < 400, np.arange(1000) >= 600
    for mask in (first, second):
        mask.setflags(write=False)
    index.search(cloud(2, 3), 5, allow=first)
    index._known[id(second)] = index._known[id(first)]  # as if `first` had died and `second` had its id
    assert index.search(cloud(2, 3), 5, allow=second).positions.min() >= 600
