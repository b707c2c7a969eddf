"""The approximate index against the exact one: what it finds, its filters, its snapshots, threads."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from shortlist import index as indexes
from shortlist._typing import Floats, Found
from shortlist.errors import BundleCorrupted, DataError, MissingExtra, RequestError
from shortlist.index import build as building
from shortlist.index.ann import AnnIndex
from shortlist.index.build import build, choose, overlap
from shortlist.index.build import rebuilt as build_again
from shortlist.index.exact import ExactIndex
from shortlist.state.seen import Seen

N, DIM, K = 3_000, 8, 10


@pytest.fixture(scope="module")
def vectors() -> Floats:
    rng = np.random.default_rng(0)
    made = rng.standard_normal((30, DIM))[rng.integers(0, 30, N)] + 0.5 * rng.standard_normal((N, DIM))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def queries(vectors: Floats) -> Floats:
    rng = np.random.default_rng(1)
    return (5 * vectors[rng.integers(0, N, 60)] + rng.standard_normal((60, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def ann(vectors: Floats, queries: Floats) -> AnnIndex:
    pytest.importorskip("faiss")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "_FEW", 40)
        patch.setattr(building, "_DEPTH", K)
        made = build(vectors, "ann", queries=queries, recall=0.9)
    assert isinstance(made, AnnIndex)
    return made


@pytest.fixture(scope="module")
def thorough(ann: AnnIndex) -> AnnIndex:
    """It looks into all lists: what it finds must be what is right."""
    tuned = msgspec.structs.replace(ann.tuned, probes=((1.0, ann.lists.num_lists),))
    return replace(ann, tuned=tuned, _known={})


def same(found: Found, right: Found) -> None:
    assert np.array_equal(found.positions, right.positions)
    assert np.allclose(found.scores, right.scores, atol=1e-5)


def test_it_finds_what_it_was_asked_to(ann: AnnIndex, queries: Floats, vectors: Floats) -> None:
    told = ann.describe()
    assert told["kind"] == "ann" and told["queries"] == "given" and told["normalized"]
    assert told["recall"] >= 0.85 and 1 <= told["nprobe"] < told["lists"] == 110
    assert told["bytes"] < 0.75 * told["bytes_of_float32"]  # ids weigh much beside 8 numbers
    found, right = ann.search(queries, K), ann.exact.search(queries, K)
    assert 0.85 <= overlap(found.positions, right.positions) < 1
    row, place = 3, found.positions[3]
    assert np.allclose(found.scores[row], vectors[place] @ queries[row], atol=1e-5)
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_recall_is_counted_over_what_is_right() -> None:
    right = np.array([[1, 2], [3, -1]], np.int32)
    assert overlap(np.array([[2, 9], [-1, 3]], np.int32), right) == pytest.approx(2 / 3)


@pytest.mark.parametrize("share", [None, 0.7, 0.1, 0.005])
def test_filters_are_those_of_exact_search(thorough: AnnIndex, queries: Floats, share: float | None) -> None:
    rng = np.random.default_rng(2)
    allow = None if share is None else rng.random(N) < share
    exclude = Seen.from_pairs(rng.integers(0, 60, 3_000), rng.integers(0, N, 3_000), 60)
    had = Seen.from_pairs(rng.integers(0, 60, 900), rng.integers(0, N, 900), 60)
    for amount in (3.0, -3.0, 0.0):
        options = {"allow": allow, "exclude": exclude, "bonus": (had, amount)}
        same(thorough.search(queries, K, **options), thorough.exact.search(queries, K, **options))


def test_a_query_that_drops_very_many_still_gets_k(ann: AnnIndex, queries: Floats) -> None:
    """All but a few are dropped, in the first query; the second drops its own best 700."""
    best = ann.exact.search(queries[1:2], 700).positions[0]
    items = np.concatenate([np.arange(N - 13), best])
    exclude = Seen.from_pairs(np.repeat([0, 1], [N - 13, 700]), items, 2)
    found = ann.search(queries[:2], K, exclude=exclude)
    same(found, ann.exact.search(queries[:2], K, exclude=exclude))
    assert found.positions[0].min() >= N - 13


def test_k_are_found_where_they_lie_far_from_the_query(ann: AnnIndex, queries: Floats) -> None:
    worst = ann.exact.search(-queries[:1], 60).positions[0]
    allow = np.zeros(N, np.bool_)
    allow[worst] = True
    found = ann.search(queries[:1], K, allow=allow)
    assert overlap(found.positions, ann.exact.search(queries[:1], K, allow=allow).positions) == 1
    everything = ann.search(queries[:1], N + 5)
    assert np.count_nonzero(everything.positions >= 0) == N


def test_what_is_asked_together_is_found_as_alone(ann: AnnIndex, queries: Floats) -> None:
    few = replace(ann, tuned=msgspec.structs.replace(ann.tuned, few=0, probes=((1.0, 1),)), _known={})
    together = few.search(queries, 2 * K)  # one list in many holds fewer
    alone = [few.search(query[None], 2 * K).positions[0] for query in queries]
    assert np.array_equal(together.positions, alone)
    assert overlap(together.positions, few.exact.search(queries, 2 * K).positions) < 1


def test_a_mask_is_remembered_only_while_it_cannot_change(thorough: AnnIndex, queries: Floats) -> None:
    mask = np.random.default_rng(0).random(N) < 0.5
    before = thorough.search(queries, K, allow=mask)
    mask[before.positions[0, 0]] = False
    assert before.positions[0, 0] not in thorough.search(queries, K, allow=mask).positions
    mask.setflags(write=False)
    again = thorough.search(queries, K, allow=mask)
    assert np.array_equal(thorough.search(queries, K, allow=mask).positions, again.positions)
    same(again, thorough.exact.search(queries, K, allow=mask))


def test_snapshots_search_what_is_new_and_not_what_is_gone(thorough: AnnIndex, queries: Floats) -> None:
    rng = np.random.default_rng(3)
    before = thorough.search(queries, K)
    gone = before.positions[:20, 0].astype(np.int64)
    places = np.concatenate([np.arange(N, N + 50), np.unique(before.positions[20:40, 0])])
    fresh = rng.standard_normal((len(places), DIM)).astype(np.float32)
    later = thorough.updated(places, fresh).without(gone)
    allow = rng.random(N + 50) < 0.5
    had = Seen.from_pairs(np.arange(60), rng.choice(places, 60), 60)
    for options in ({}, {"allow": allow}, {"bonus": (had, 2.0)}, {"exclude": had}):
        same(later.search(queries, K, **options), later.exact.search(queries, K, **options))
    assert not np.isin(later.search(queries, K).positions, gone).any()
    same(thorough.search(queries, K), before)
    back = later.updated(gone[:1], queries[:1])
    assert back.search(queries[:1], K).positions[0, 0] in gone
    told = later.describe()
    assert (told["delta"], told["removed"]) == (len(np.setdiff1d(places, gone)), len(np.unique(gone)))


def test_log_sum_exp_is_near(ann: AnnIndex, queries: Floats) -> None:
    had = Seen.from_pairs(np.arange(60), np.arange(60), 60)
    for index in (ann, ann.updated(np.array([N]), 2 * queries[:1]).without(np.arange(500))):
        for bonus in (None, (had, 2.0), (had, -2.0)):
            right = index.exact.log_z(queries, bonus)
            found = index.search(queries, K, bonus=bonus, log_z=True).log_z
            assert found is not None and np.abs(found - right).mean() < 0.1
            assert np.abs(index.log_z(queries, bonus) - right).mean() < 0.1
    assert ann.describe()["log_z_error"] < 0.1


def test_what_is_saved_is_loaded_mapped(ann: AnnIndex, queries: Floats, tmp_path: Path) -> None:
    later = ann.updated(np.array([5, N]), queries[:2]).without(np.array([9]))
    later.save(tmp_path / "one")
    vectors = later.vectors(np.arange(N + 1))
    again = indexes.load(tmp_path / "one", vectors)
    assert again.describe() == later.describe()
    same(again.search(queries, K), later.search(queries, K))
    (tmp_path / "one").rename(tmp_path / "moved")  # what is mapped stays
    again.save(tmp_path / "two")
    same(indexes.load(tmp_path / "two", vectors).search(queries, K), later.search(queries, K))
    with pytest.raises(BundleCorrupted, match="vectors"):
        indexes.load(tmp_path / "two", np.concatenate([vectors, vectors]))
    codes = tmp_path / "two" / "codes.bin"
    codes.write_bytes(codes.read_bytes()[:-8])
    with pytest.raises(BundleCorrupted, match=r"bytes, but 3,000 vectors in 110 lists take"):
        indexes.load(tmp_path / "two", vectors)
    np.save(tmp_path / "two" / "levels.npy", np.zeros((DIM, 3), np.float32))
    with pytest.raises(BundleCorrupted, match="of no index"):
        indexes.load(tmp_path / "two", vectors)


def test_lists_of_bytes_are_still_read(thorough: AnnIndex, queries: Floats, tmp_path: Path) -> None:
    """As bundles of before hold them: one byte a number, in a file of faiss' own."""
    import faiss

    flat = faiss.IndexFlatIP(DIM)
    flat.add(thorough.lists.centres)
    count, kind = thorough.lists.num_lists, faiss.ScalarQuantizer.QT_8bit
    inner = faiss.IndexIVFScalarQuantizer(flat, DIM, count, kind, faiss.METRIC_INNER_PRODUCT, True)
    inner.train(thorough.exact.vectors(np.arange(N)))
    inner.add(thorough.exact.vectors(np.arange(N)))
    before = replace(thorough, lists=replace(thorough.lists, inner=inner), _known={})
    before.save(tmp_path / "one")
    settings = tmp_path / "one" / "index.json"
    settings.write_text(settings.read_text().replace('"fetched":', '"unknown of before":'))
    assert sorted(path.suffix for path in (tmp_path / "one").glob("*list*")) == [".faiss", ".npy"]
    again = indexes.load(tmp_path / "one", thorough.vectors(np.arange(N)))
    assert isinstance(again, AnnIndex) and again.tuned.fetched == 1.1
    same(again.search(queries, K), thorough.exact.search(queries, K))
    again.save(tmp_path / "two")
    (tmp_path / "two" / "lists.faiss").write_bytes(b"no lists")
    with pytest.raises(BundleCorrupted, match="no inverted lists"):
        indexes.load(tmp_path / "two", thorough.vectors(np.arange(N)))


def test_lists_are_searched_where_they_are_mapped(ann: AnnIndex, queries: Floats, tmp_path: Path) -> None:
    """What is mapped has the very codes that faiss made, whatever room the last block of a list has left."""
    ann.save(tmp_path)
    again = indexes.load(tmp_path, ann.vectors(np.arange(N)))
    assert isinstance(again, AnnIndex) and again.lists.file is not None
    maps = Path("/proc/self/maps")
    if maps.is_file():  # once for what is saved again, once by faiss
        assert maps.read_text().count(str(tmp_path / "codes.bin")) == 2
    again.save(tmp_path / "again")
    assert (tmp_path / "again" / "codes.bin").read_bytes() == (tmp_path / "codes.bin").read_bytes()
    mask = np.packbits(np.random.default_rng(0).random(N) < 0.3, bitorder="little")
    for k, nprobe, bits in ((1, 1, None), (15, 7, None), (15, 7, mask), (400, 110, mask), (N, 110, None)):
        one, other = (index.lists.probe(queries, k, nprobe, bits) for index in (ann, again))
        assert np.array_equal(np.sort(one, axis=1), np.sort(other, axis=1))
    assert np.array_equal(np.sort(other[0]), np.arange(N))
    open_lists = np.zeros(ann.lists.num_lists, np.bool_)
    open_lists[[3, 50]] = True
    found = again.lists.probe(queries[:3], N, 5, None, open_lists)
    held = np.isin(again.lists.list_of, [3, 50])
    assert [set(row[row >= 0]) for row in found] == [set(np.flatnonzero(held))] * 3


@pytest.mark.parametrize(("size", "width"), [(2, 3), (17, 1), (500, 7)])
def test_few_items_of_odd_width_can_be_divided(size: int, width: int, tmp_path: Path) -> None:
    made = np.random.default_rng(size).standard_normal((size, width)).astype(np.float32)
    index = build(made, "ann")
    index.save(tmp_path)
    again = indexes.load(tmp_path, made)
    assert isinstance(again, AnnIndex)
    found = again.lists.probe(made[:1], size, again.lists.num_lists)
    assert len(set(found[0]) - {-1}) >= size - 1  # faiss gives none whose rough score is the worst there is
    same(again.search(made, 3), ExactIndex.of(made).search(made, 3))


def test_searches_are_right_while_snapshots_change(ann: AnnIndex, queries: Floats) -> None:
    """Each searching thread takes the newest snapshot; what it finds must be what that snapshot holds."""
    newest: list[AnnIndex] = [ann]
    wrong: list[str] = []

    def search() -> None:
        for turn in range(50):
            index = newest[0]
            positions = index.search(queries[turn : turn + 2], K).positions
            if np.isin(positions, index.exact.rows.removed).any() or positions.max() >= len(index):
                wrong.append(f"turn {turn}: {positions}")
            alone = index.search(queries[turn : turn + 2], K).positions
            if not np.array_equal(positions, alone):
                wrong.append(f"turn {turn}: {positions} and {alone}")

    threads = [Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    rng = np.random.default_rng(0)
    while any(thread.is_alive() for thread in threads):
        index = newest[0]
        places = np.append(rng.integers(0, N, 3), len(index))
        newest[0] = index.updated(places, queries[rng.integers(0, 60, 4)]).without(rng.integers(0, N, 5))
    for thread in threads:
        thread.join()
    assert not wrong, wrong[0]
    assert len(newest[0]) > N + 10


def test_what_is_chosen(vectors: Floats) -> None:
    assert [choose(n, 64) for n in (1_000, 100_000, 100_001)] == ["exact", "exact", "ann"]
    assert choose(10**7, 64, "exact") == "exact" and choose(10, 64, "ann") == "ann"
    assert choose(10**6, 64, latency_ms=50) == "exact" and choose(10**5, 64, latency_ms=0.2) == "ann"
    assert isinstance(build(vectors), ExactIndex)
    with pytest.raises(RequestError, match="'near'"):
        choose(10, 64, "near")
    with pytest.raises(RequestError, match="recall is 1"):
        build(vectors, "ann", recall=1.0)


def test_an_index_is_made_again_of_other_vectors(ann: AnnIndex, vectors: Floats) -> None:
    again = build_again(ann.without(np.array([3])), vectors + np.float32(0.001))
    assert again.kind == "ann" and again.removed.tolist() == [3] and again.describe()["target"] == 0.9
    exact = build_again(ExactIndex.of(vectors).without(np.array([4])), vectors)
    assert exact.kind == "exact" and exact.removed.tolist() == [4]
    with pytest.raises(DataError, match=r"3000 items.* 2 vectors"):
        build_again(exact, vectors[:2])


def test_vectors_that_cannot_be_divided_are_named(vectors: Floats) -> None:
    pytest.importorskip("faiss")
    broken = vectors.copy()
    broken[7, 2] = np.nan
    with pytest.raises(DataError, match="item vector 7 is not finite"):
        build(broken, "ann")
    with pytest.raises(DataError, match="queries to tune on"):
        build(vectors, "ann", queries=vectors[:4, :3])


def test_without_faiss_the_extra_is_named(vectors: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match="faiss-cpu") as caught:
        build(vectors, "ann")
    assert "[ann]" in caught.value.hint
    monkeypatch.setitem(sys.modules, "faiss", SimpleNamespace(__version__="1.12.1"))
    with pytest.raises(MissingExtra, match=r"faiss-cpu>=1\.13"):
        build(vectors, "ann")


def test_log_sum_exp_does_not_depend_on_what_else_is_asked(ann: AnnIndex, queries: Floats) -> None:
    """Some drop much, some little; with a sample that holds what is found, which must count once."""
    rng = np.random.default_rng(3)
    dropped = [rng.choice(N, size, replace=False) for size in [0, 3, 300, 700] * 10]
    counts = [len(items) for items in dropped]
    exclude = Seen.from_pairs(np.repeat(np.arange(40), counts), np.concatenate(dropped), 40)
    for index in (ann, ann.updated(np.array([5, N]), ann.vectors(np.array([7, 8])))):
        together = index.search(queries[:40], K, exclude=exclude, log_z=True)
        assert together.log_z is not None
        for row in range(40):
            alone = index.search(queries[[row]], K, exclude=exclude.rows(np.array([row])), log_z=True)
            assert alone.positions[0].tolist() == together.positions[row].tolist()
            np.testing.assert_allclose(alone.log_z, together.log_z[row], atol=1e-4)
