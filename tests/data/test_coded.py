"""Coded strings stand for plain ones: whatever reads both gives the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.data import coding
from shortlist.data.coded import Coded, blocks
from shortlist.data.coding import Coder, coded
from shortlist.data.columns import to_coded_columns, to_columns
from shortlist.data.vocabulary import Vocabulary

TEXTS = st.lists(st.one_of(st.none(), st.sampled_from(["", "a", "B", "a b", "é", "z", "𝒜", "ﬀ", "10", "9"])))


def plain(texts: list[str | None]) -> Any:
    return np.array([*[t or "" for t in texts], None], object)[:-1]


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical])
@given(texts=TEXTS)
def test_a_coded_column_is_the_plain_one(dtype: Any, texts: list[str | None]) -> None:
    column = coded(pl.Series(texts, dtype=pl.String).cast(dtype))
    assert column.expand().tolist() == plain(texts).tolist()
    assert np.asarray(column).tolist() == plain(texts).tolist()
    assert column.values.tolist() == sorted({t for t in texts if t})
    assert column.in_order().tolist() == list(dict.fromkeys(t for t in texts if t))
    assert column[::2].expand().tolist() == plain(texts)[::2].tolist()
    assert [column[row] for row in range(len(column))] == plain(texts).tolist()
    assert (len(column), column.shape, column.ndim, column.dtype) == (len(texts), (len(texts),), 1, object)


@given(
    texts=TEXTS, other=TEXTS, min_count=st.integers(1, 3), max_size=st.one_of(st.none(), st.integers(0, 3))
)
def test_a_vocabulary_of_codes_is_that_of_texts(
    texts: list[str | None], other: list[str | None], min_count: int, max_size: int | None
) -> None:
    slow = Vocabulary.fit(plain(texts), min_count=min_count, max_size=max_size)
    fast = Vocabulary.fit(coded(pl.Series(texts, dtype=pl.String)), min_count=min_count, max_size=max_size)
    assert fast == slow
    assert fast.content_hash == slow.content_hash
    assert Vocabulary.from_dict(fast.to_dict()) == slow
    for column in (texts, other, texts[1:]):
        slots = fast.lookup(coded(pl.Series(column, dtype=pl.String)))
        assert slots.dtype == np.int32
        np.testing.assert_array_equal(slots, slow.lookup(plain(column)))


def test_rows_without_a_value_of_theirs_do_not_enter() -> None:
    some = coded(pl.Series(["a", "b", "a", None, "c"]))[:3]
    assert Vocabulary.fit(some) == Vocabulary.fit(plain(["a", "b", "a"]))
    assert some.in_order().tolist() == ["a", "b"]


@given(st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.sampled_from(["", "x", "y", "zz"]))))))
def test_lists_of_texts_are_coded_too(lists: list[Any]) -> None:
    frame = pl.DataFrame({"tags": pl.Series(lists, dtype=pl.List(pl.String))})
    column = to_coded_columns(frame)["tags"]
    assert isinstance(column, Coded)
    np.testing.assert_array_equal(column.expand(), to_columns(frame)["tags"])


def test_other_columns_are_as_ever_and_whole_numbers_and_enums_are_texts() -> None:
    frame = pl.DataFrame(
        {
            "n": [3, None],
            "x": [0.5, None],
            "e": pl.Series(["q", None], dtype=pl.Enum(["z", "q"])),
            "nothing": [None, None],
        }
    )
    columns, expected = to_coded_columns(frame), to_columns(frame)
    for name in frame.columns:
        np.testing.assert_array_equal(np.asarray(columns[name]), expected[name])
    assert coded(pl.Series([42, 7, None])).expand().tolist() == ["42", "7", ""]


def test_columns_in_many_pieces_and_threads_get_the_same_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pl.Series(np.random.default_rng(0).integers(0, 300, 5_000)).cast(pl.String)
    whole = coded(texts)
    monkeypatch.setattr(coding, "_AT_A_TIME", 64)
    pieces = coded(texts)
    np.testing.assert_array_equal(pieces.codes, whole.codes)
    assert pieces.values.tolist() == whole.values.tolist()


def test_a_coder_remembers_its_texts_between_chunks() -> None:
    coder = Coder()
    chunks = [coder.codes(pl.Series(chunk)) for chunk in (["b", None], ["", "a"], ["b", "c"])]
    ranks, values = coder.ranks()
    assert values.tolist() == ["a", "b", "c"]
    assert [ranks[c].tolist() for c in chunks] == [[1, -1], [-1, 0], [1, 2]]


@pytest.mark.parametrize("bits", [0, 1, 3, 5])
def test_texts_of_one_hash_are_told_apart(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pl.Series(np.random.default_rng(0).integers(0, 300, 5_000)).cast(pl.String)
    whole, hashes = coded(texts), coding._hashes
    monkeypatch.setattr(coding, "_hashes", lambda t: hashes(t) % np.uint64(2**bits) + np.uint64(1))
    monkeypatch.setattr(coding, "_AT_A_TIME", 64)
    monkeypatch.setattr(coding, "_FEWEST", 2)
    few = coded(texts)
    np.testing.assert_array_equal(few.codes, whole.codes)
    assert few.values.tolist() == whole.values.tolist()


@given(st.lists(st.lists(st.integers(1, 40), unique=True), max_size=8), st.integers(0, 60))
def test_a_table_of_hashes_is_a_dict(chunks: list[list[int]], shift: int) -> None:
    """Shifted, the numbers take few first slots, so that most are found further on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coding, "_FEWEST", 2)
        patch.setattr(coding, "_SPREAD", np.uint64(1 << shift))
        table, expected = coding.HashTable(), dict[int, int]()
        for chunk in chunks:
            new = [x for x in chunk if x not in expected]
            table.add(np.array(new, np.uint64))
            expected |= {x: len(expected) + i for i, x in enumerate(new)}
            assert len(table) == len(expected)
            found = table.find(np.arange(1, 41, dtype=np.uint64))
            assert found.tolist() == [expected.get(x, -1) for x in range(1, 41)]


def test_blocks_cover_every_row_once() -> None:
    assert [np.arange(7)[b].tolist() for b in blocks(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(blocks(0)) == []
