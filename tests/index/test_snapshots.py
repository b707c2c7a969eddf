"""The exact index against plain sorting: filters, the bonus, log sum exp, and snapshots that change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist import index as indexes
from shortlist._typing import Bools, Doubles, Floats
from shortlist.errors import BundleCorrupted, DataError, RequestError
from shortlist.index.exact import ExactIndex
from shortlist.state.seen import Seen
from shortlist.state.storage import save_json


def small(rng: np.random.Generator, rows: int) -> Floats:
    """Small whole numbers: products are exact, so ties are real."""
    return rng.integers(-2, 3, (rows, 4)).astype(np.float32)


def relation(rng: np.random.Generator, rows: int, items: int, pairs: int) -> Seen:
    return Seen.from_pairs(rng.integers(0, rows, pairs), rng.integers(0, items, pairs), rows)


def expected(scores: Doubles, may: Bools, k: int) -> list[int]:
    order = [i for i in np.lexsort((np.arange(len(scores)), -scores)) if may[i]][:k]
    return [*map(int, order), *[-1] * (k - len(order))]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), k=st.sampled_from([1, 5, 40]), share=st.sampled_from([None, 0.6, 0.05]))
def test_search_is_the_sorted_list_whatever_has_changed(seed: int, k: int, share: float | None) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries, now = small(rng, 30), small(rng, 3), 30
    index, present = ExactIndex.of(vectors.copy()), np.ones(40, np.bool_)
    for _ in range(rng.integers(0, 4)):
        if rng.random() < 0.5:
            places = np.append(rng.integers(0, now, 3), np.arange(now, now + 2))
            fresh = small(rng, 5)
            vectors = np.concatenate([vectors, np.zeros((2, 4), np.float32)])
            for place, vector in zip(places, fresh, strict=True):
                vectors[place] = vector  # of a place named twice the last one counts
            index, now = index.updated(places, fresh), now + 2
            present[places] = True
        else:
            gone = rng.integers(0, now, 4)
            index, present[gone] = index.without(gone), False
    allow = None if share is None else rng.random(now) < share
    exclude, had = relation(rng, 3, now, 20), relation(rng, 3, now, 10)
    found = index.search(queries, k, allow=allow, exclude=exclude, bonus=(had, 1.5), log_z=True)
    again = index.search(queries, k, allow=allow, exclude=exclude, bonus=(had, 1.5))
    assert np.array_equal(found.positions, again.positions) and np.array_equal(found.scores, again.scores)
    assert len(index) == now and np.array_equal(index.vectors(np.arange(now)), vectors)
    for row in range(3):
        scores = vectors.astype(np.float64) @ queries[row]
        scores[had.of(row)] += 1.5
        assert found.log_z is not None
        assert found.log_z[row] == pytest.approx(np.log(np.exp(scores[present[:now]]).sum()), abs=1e-5)
        may = present[:now] & (True if allow is None else allow) & ~np.isin(np.arange(now), exclude.of(row))
        right = expected(scores, may, min(k, now))
        assert found.positions[row].tolist() == right
        assert found.scores[row].tolist() == [scores[i] if i >= 0 else -np.inf for i in right]
    assert np.array_equal(index.log_z(queries, (had, 1.5)), found.log_z)


def test_a_snapshot_stays_as_it_was_and_copies_no_rows() -> None:
    rng = np.random.default_rng(0)
    first = ExactIndex.of(small(rng, 30))
    before = first.search(small(rng, 2), 5)
    second = first.updated(np.array([2]), small(rng, 1)).without(np.array([1]))
    assert second.rows.base is first.rows.base
    assert np.array_equal(np.asarray(second.rows), second.vectors(np.arange(30)))
    assert np.array_equal(second.rows[1:4], second.rows[np.arange(1, 4)])
    assert np.asarray(first.rows) is first.rows.base and second.rows.T.shape == (4, 30)
    rng = np.random.default_rng(0)
    small(rng, 30)
    assert np.array_equal(first.search(small(rng, 2), 5).positions, before.positions)
    assert second.describe() == {"kind": "exact", "items": 29, "recall": 1.0, "delta": 1, "removed": 1}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    index = ExactIndex.of(small(rng, 30)).updated(np.array([30, 3]), small(rng, 2)).without(np.array([7]))
    index.save(tmp_path / "index")
    again = indexes.load(tmp_path / "index", index.vectors(np.arange(31)))
    queries = small(rng, 4)
    assert np.array_equal(again.search(queries, 31).positions, index.search(queries, 31).positions)
    save_json(tmp_path / "index" / "index.json", {"kind": "other"})
    with pytest.raises(BundleCorrupted, match="other"):
        indexes.load(tmp_path / "index", index.vectors(np.arange(31)))


def test_what_does_not_fit_is_named() -> None:
    index = ExactIndex.of(np.eye(3, dtype=np.float32))
    one, three = np.zeros((1, 3), np.float32), Seen.from_pairs([0], [3], 1)
    with pytest.raises(DataError, match="without a gap"):
        index.updated(np.array([4]), one)
    with pytest.raises(DataError, match="item 1 is not finite"):
        index.updated(np.array([1]), one * np.nan)
    with pytest.raises(DataError, match="no item at 3"):
        index.without(np.array([3]))
    with pytest.raises(DataError, match=r"outside 0\.\.2"):
        index.search(one, 1, exclude=three)
    with pytest.raises(DataError, match="1 rows for 2 queries"):
        index.search(np.zeros((2, 3), np.float32), 1, bonus=(three, 1.0))
    with pytest.raises(DataError, match=r"allow must be bool \(3,\)"):
        index.search(one, 1, allow=np.ones(2, np.bool_))
    with pytest.raises(RequestError, match="k is 0"):
        index.search(one, 0)
    with pytest.raises(DataError, match="float32"):
        ExactIndex.of(np.eye(3))
