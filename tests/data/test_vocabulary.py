from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist._typing import MISSING_INT
from shortlist.data import vocabulary as module
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError

words = st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=4), max_size=40)
longs = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=40)


def objects(values: list[object]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


@given(words)
def test_strings_look_up_to_themselves_and_missing_to_slot_zero(values: list[str]) -> None:
    array = objects(values)
    vocabulary = Vocabulary.fit(array)
    slots = vocabulary.lookup(array)
    assert slots.dtype == np.int32
    assert vocabulary.values_of(slots).tolist() == values
    assert ((slots == 0) == (array == "")).all()
    assert set(vocabulary.values) == set(values) - {""}


@given(longs)
def test_integers_look_up_to_themselves_and_missing_to_slot_zero(values: list[int]) -> None:
    array = np.array(values, dtype=np.int64)
    vocabulary = Vocabulary.fit(array)
    slots = vocabulary.lookup(array)
    assert (vocabulary.values_of(slots) == array).all()
    assert ((slots == 0) == (array == MISSING_INT)).all()


@given(words, st.integers(1, 3), st.none() | st.integers(0, 5))
def test_fit_orders_by_count_then_value_and_counts_the_rest_in_slot_zero(
    values: list[str], min_count: int, max_size: int | None
) -> None:
    vocabulary = Vocabulary.fit(objects(values), min_count=min_count, max_size=max_size)
    counted = Counter(v for v in values if v)
    wanted = sorted((v for v, c in counted.items() if c >= min_count), key=lambda v: (-counted[v], v))
    assert list(vocabulary.values) == wanted[:max_size]
    assert vocabulary.counts[1:].tolist() == [counted[v] for v in vocabulary.values]
    assert vocabulary.counts.sum() == len(values)
    assert vocabulary.size == len(vocabulary) + 1 == vocabulary.counts.size


@given(words | longs)
def test_round_trip_through_json(values: list[object]) -> None:
    kind = np.int64 if values and isinstance(values[0], int) else object
    vocabulary = Vocabulary.fit(np.array(values, dtype=kind))
    again = Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict())))
    assert again == vocabulary
    assert again.content_hash == vocabulary.content_hash
    assert hash(again) == hash(vocabulary)


@given(words, st.randoms())
def test_the_order_of_rows_does_not_matter(values: list[str], shuffler: object) -> None:
    mixed = list(values)
    shuffler.shuffle(mixed)  # type: ignore[attr-defined]
    assert Vocabulary.fit(objects(values)) == Vocabulary.fit(objects(mixed))


def test_unknown_values_take_slot_zero_in_any_shape() -> None:
    vocabulary = Vocabulary.of(["a", "b"])
    grid = np.array([["b", "x", ""], ["a", "a", "y"]], dtype=object)
    assert vocabulary.lookup(grid).tolist() == [[2, 0, 0], [1, 1, 0]]
    assert vocabulary.lookup(np.array(["b", "z"])).tolist() == [2, 0]
    assert Vocabulary.of([7, 3]).lookup(np.array([[3, 8]])).tolist() == [[2, 0]]
    assert Vocabulary.fit(np.array([], dtype=object)).lookup(grid).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_integers_given_to_strings_are_read_as_decimals() -> None:
    vocabulary = Vocabulary.of(["42", "7"])
    assert vocabulary.lookup(np.array([7, 42, 8, MISSING_INT])).tolist() == [2, 1, 0, 0]
    assert vocabulary.lookup(objects([42, None, float("nan"), "7"])).tolist() == [1, 0, 0, 2]


def test_hash_tells_values_order_and_kind_apart() -> None:
    hashes = {Vocabulary.of(v).content_hash for v in (["a", "b"], ["b", "a"], ["ab"], ["1"], [1], ["a,b"])}
    assert len(hashes) == 6
    more = Vocabulary(("a", "b"), np.array([5, 2, 9]))
    assert more.content_hash == Vocabulary.of(["a", "b"]).content_hash
    assert more != Vocabulary.of(["a", "b"])


def test_frozen() -> None:
    vocabulary = Vocabulary.of(["a"])
    with pytest.raises(dataclasses.FrozenInstanceError):
        vocabulary.values = ("b",)  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        vocabulary.counts[0] = 3
    source = np.array([0, 1])
    copied = Vocabulary(("a",), source)
    source[1] = 99
    assert copied.counts.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Vocabulary.of(["a", "b", "a"]), "'a' appears more than once"),
        (lambda: Vocabulary.of(["a", ""]), "missing value"),
        (lambda: Vocabulary(("a", 1), np.zeros(3)), "expected values of type str, got 1"),  # type: ignore
        (lambda: Vocabulary(("a",), np.zeros(3)), r"shape \(2,\), got \(3,\)"),
        (lambda: Vocabulary.from_dict({"values": ["a"]}), "not a stored vocabulary: KeyError"),
        (lambda: Vocabulary.fit(np.array([0.5])), "expected strings, got float64 such as"),
        (lambda: Vocabulary.fit(objects(["a", 1.5])), "row 1: expected a string, got 1.5"),
        (lambda: Vocabulary.fit(objects(["a"]), min_count=0), "min_count=0"),
        (lambda: Vocabulary.of([1]).lookup(np.array(["1"])), "expected integers"),
        (lambda: Vocabulary.of(["a"]).values_of(np.array([2])), "from 0 to 1"),
        (lambda: Vocabulary.of(["a"]).values_of(np.array([-1])), "from 0 to 1"),
    ],
)
def test_errors_show_the_value(build: object, words: str) -> None:
    with pytest.raises(DataError, match=words):
        build()  # type: ignore[operator]


def test_a_million_strings_take_about_a_second() -> None:
    words = np.arange(50_000).astype(str).astype(object)
    vocabulary = Vocabulary.fit(words)
    values = words[np.random.default_rng(0).integers(0, 50_000, 1_000_000)]
    started = time.process_time()
    slots = vocabulary.lookup(values)
    assert time.process_time() - started < 3.0
    assert (slots > 0).all()


@given(st.lists(words, min_size=1, max_size=3), longs, st.integers(1, 3), st.none() | st.integers(0, 5))
def test_a_union_is_fitted_on_all_values(
    texts: list[list[str]], numbers: list[int], min_count: int, max_size: int | None
) -> None:
    parts = [Vocabulary.fit(objects(values)) for values in texts]
    together = [value for values in texts for value in values]
    one = Vocabulary.fit(objects(together), min_count=min_count, max_size=max_size)
    assert Vocabulary.union(parts, min_count=min_count, max_size=max_size) == one
    whole = np.array(numbers, np.int64)
    twice = [Vocabulary.fit(whole), Vocabulary.fit(whole[::2])]
    assert Vocabulary.union(twice) == Vocabulary.fit(np.concatenate([whole, whole[::2]]))
    mixed = Vocabulary.union([*parts, twice[0]], min_count=min_count, max_size=max_size)
    decimal = ["" if n == MISSING_INT else str(n) for n in numbers]
    assert mixed == Vocabulary.fit(objects(together + decimal), min_count=min_count, max_size=max_size)
    assert mixed.lookup(whole).tolist() == mixed.lookup(objects(decimal)).tolist()


@pytest.mark.parametrize(
    "hashed", [hash, lambda value: len(str(value))], ids=["own hashes", "hashes that collide"]
)
def test_many_values_are_looked_up_by_their_hashes(hashed: object, monkeypatch: pytest.MonkeyPatch) -> None:
    values = [f"{n:x}" for n in range(300)]
    asked = objects([*values[::7], "", "no", "ff0", None])
    few = Vocabulary.of(values)
    monkeypatch.setattr(module, "_MANY", 10)
    monkeypatch.setattr(module, "hash", hashed, raising=False)
    for share, made in ((1, False), (100, True)):  # one or few at a time, or so many that a dict is made
        monkeypatch.setattr(module, "_SHARE", share)
        many = Vocabulary.of(values)
        assert many.lookup(asked).tolist() == few.lookup(asked).tolist()
        assert ("_by_value" in many.__dict__) == made
        assert "12b" in many and "12c" not in many
        more = many.extended(["12c", "no"])
        assert more.lookup(asked).tolist() == few.extended(["12c", "no"]).lookup(asked).tolist()
    for wrong in ([*values, "7"], ["7", *values], [*values, ""]):
        with pytest.raises(DataError, match=r"'7' appears more than once|missing value"):
            Vocabulary.of(wrong)
