"""Each fitted feature against an independent form; unknown, missing and extreme values."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist._typing import MISSING_INT
from shortlist.data.coded import blocks
from shortlist.data.columns import to_coded_columns, to_columns
from shortlist.data.dataset import Dataset
from shortlist.errors import DataError
from shortlist.features import fitted as fitted_module
from shortlist.features.fitted import (
    Buckets,
    Lookup,
    Standard,
    Words,
    fit_feature,
    fit_shared,
    load_feature,
    tokenize,
)
from shortlist.specs.features import (
    Bucket,
    Category,
    Cyclic,
    Feature,
    FeatureSpec,
    Id,
    Normalize,
    Tags,
    Text,
    Vector,
)

DAY = 86_400


def strings(*values: str) -> np.ndarray:
    return np.array(values, object)


@pytest.mark.parametrize("kind", [str, int])
def test_lookup_gives_each_training_value_a_row_of_its_own(kind: type) -> None:
    column = np.array([kind(v) for v in (7, 3, 7, 9)], object if kind is str else np.int64)
    fitted = fit_feature(Id("user_id"), column)
    rows = fitted.encode(column)
    assert rows.dtype == np.int32
    assert fitted.rows == 4
    assert rows[0] == rows[2]
    assert sorted(set(rows.tolist())) == [1, 2, 3]
    new = np.array([kind(8), "" if kind is str else MISSING_INT, kind(3)], column.dtype)
    assert fitted.encode(new).tolist() == [0, 0, rows[1]]
    assert fitted.encode(column[:0]).shape == (0,)


def test_category_sends_rare_values_to_the_unknown_row() -> None:
    fitted = fit_feature(Category("country", min_count=2), strings("fr", "de", "fr", "it", "", ""))
    assert fitted.encode(strings("fr", "de", "it", "")).tolist() == [1, 0, 0, 0]
    assert fitted.rows == 2


def test_tags_keep_their_order_pad_and_mark_unknown_ones() -> None:
    column = np.array([["Drama", "War"], ["Drama", ""], ["", ""]], object)
    fitted = fit_feature(Tags("genres"), column)
    drama, war = 1, 2
    assert fitted.encode(column).tolist() == [[drama, war], [drama, -1], [-1, -1]]
    wider = np.array([["War", "Noir", "Drama"]], object)
    assert fitted.encode(wider).tolist() == [[war, 0]]  # as wide as training's table
    assert fitted.encode(np.array([["War"]], object)).tolist() == [[war, -1]]
    assert fitted.encode(np.empty((0, 3), object)).shape == (0, 2)
    assert fit_feature(Tags("genres"), np.full((2, 1), "", object)).rows == 1


def test_text_is_lowered_and_cut_into_letters_and_digits() -> None:
    texts = strings("Toy Story (1995)", "L.A. Confidential", "", "Amélie!", "a b c d e")
    assert tokenize(texts, 4).tolist() == [
        ["toy", "story", "1995", ""],
        ["l", "a", "confidential", ""],
        ["", "", "", ""],
        ["am", "lie", "", ""],
        ["a", "b", "c", "d"],
    ]
    fitted = fit_feature(Text("title", length=4), texts)
    assert fitted.encode(strings("story toy unheard", "")).tolist() == [
        [fitted.encode(strings("story"))[0, 0], fitted.encode(strings("toy"))[0, 0], 0, -1],
        [-1, -1, -1, -1],
    ]


@given(st.lists(st.text("aB1 -é.", max_size=12), min_size=1, max_size=9), st.integers(1, 5))
def test_text_keeps_the_most_frequent_words(texts: list[str], size: int) -> None:
    fitted = fit_feature(Text("title", vocabulary=size, length=3), strings(*texts))
    words = [re.findall("[a-z0-9]+", t.lower())[:3] for t in texts]
    counts = Counter(w for row in words for w in row)
    kept = sorted(counts, key=lambda w: (-counts[w], w))[:size]
    expected = [[kept.index(w) + 1 if w in kept else 0 for w in row] + [-1] * (3 - len(row)) for row in words]
    assert fitted.encode(strings(*texts)).tolist() == expected


def test_titles_that_keras_would_cut_otherwise(ml100k: Dataset) -> None:
    titles = sorted(set(ml100k.items["title"].drop_nulls().to_list()))
    # TextVectorization's standardisation: lower, these signs removed, then split at white space.
    signs = r"[!\"#$%&()\*\+,-\./:;<=>?@\[\\\]^_`{|}~']"
    other = [re.sub(signs, "", title.lower()).split() for title in titles]
    ours = [re.findall("[a-z0-9]+", title.lower()) for title in titles]
    assert len(titles) == 1_664
    assert sum(a != b for a, b in zip(ours, other, strict=True)) == 114
    assert "114 of the 1,664" in (Text.__doc__ or "")


def test_uniform_buckets_are_evenly_spaced_over_training_values() -> None:
    fitted = fit_feature(Bucket("timestamp", 5), np.array([100, 500, 300, MISSING_INT]))
    assert isinstance(fitted, Buckets)
    assert fitted.boundaries.tolist() == [100, 200, 300, 400, 500]
    column = np.array([99, 100, 199, 200, 499, 500, 501, -(2**62), 2**62, MISSING_INT])
    assert fitted.encode(column).tolist() == [1, 2, 2, 3, 5, 6, 6, 1, 6, 0]
    assert fitted.rows == 7
    assert fitted.encode(column).max() == fitted.rows - 1


def test_quantile_buckets_hold_equally_many_rows() -> None:
    values = np.random.default_rng(0).lognormal(size=10_000)
    fitted = fit_feature(Bucket("price", 11, method="quantile"), values)
    counts = np.bincount(fitted.encode(values))
    assert np.abs(counts[2:-1] - 1_000).max() <= 1
    assert fitted.encode(np.array([np.nan, -1.0, 1e300])).tolist() == [0, 1, 12]


@given(
    st.lists(st.integers(-(2**52), 2**52), min_size=1, max_size=20),
    st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=20),
    st.integers(1, 9),
)
def test_buckets_compare_whole_numbers_exactly(train: list[int], values: list[int], count: int) -> None:
    fitted = fit_feature(Bucket("t", count), np.array(train))
    assert isinstance(fitted, Buckets)
    edges = sorted(set(np.linspace(float(min(train)), float(max(train)), count).tolist()))
    near = [int(e) + d for e in edges for d in (-1, 0, 1)]
    # Python compares int and float without rounding.
    expected = [1 + bisect_right(edges, v) for v in values + near]
    assert fitted.encode(np.array(values + near)).tolist() == expected


def test_a_second_apart_is_told_apart_where_float32_would_not() -> None:
    first = 874_724_710
    fitted = fit_feature(Bucket("t", 2), np.array([first, first + 1]))
    assert fitted.encode(np.array([first, first + 1])).tolist() == [2, 3]
    assert np.float32(first) == np.float32(first + 1)


def test_normalize_is_scikit_learns_scaler() -> None:
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    values = np.random.default_rng(1).normal(5, 3, 500)
    fitted = fit_feature(Normalize("age"), values)
    expected = preprocessing.StandardScaler().fit_transform(values[:, None])
    np.testing.assert_allclose(fitted.encode(values), expected, atol=1e-6)


def test_normalize_leaves_missing_values_out_and_at_zero() -> None:
    column = np.array([1, 3, MISSING_INT, 5])
    fitted = fit_feature(Normalize("age"), column)
    sd = np.std([1, 3, 5])
    np.testing.assert_allclose(fitted.encode(column)[:, 0], [-2 / sd, 0, 0, 2 / sd], rtol=1e-6)
    floats = fit_feature(Normalize("age"), np.array([1.0, 3.0, np.nan, 5.0]))
    assert floats.to_dict() == fitted.to_dict()


@pytest.mark.parametrize("value", [0.1, 1e-3, 874_724_710.3, -7.0, 1e15 + 0.3, 0.0])
def test_a_constant_column_is_not_scaled(value: float) -> None:
    fitted = fit_feature(Normalize("age"), np.full(999, value))
    assert isinstance(fitted, Standard)
    assert fitted.deviation == 1.0
    np.testing.assert_allclose(fitted.encode(np.array([value, value + 1.0]))[:, 0], [0.0, 0.0], atol=0.3)


def test_normalize_holds_values_to_the_training_range() -> None:
    fitted = fit_feature(Normalize("timestamp"), np.array([100, 200, 300]))
    found = fitted.encode(np.array([-(2**40), 100, 300, 2**40]))[:, 0]
    np.testing.assert_allclose(found, np.array([-1, -1, 1, 1]) * 100 / np.std([100, 200, 300]), rtol=1e-6)


@pytest.mark.parametrize(
    ("period", "seconds"),
    [
        ("hour", 3_600.0),
        ("hour_of_day", DAY),
        ("day_of_week", 7 * DAY),
        ("day_of_year", 365.2425 * DAY),
    ],
)
def test_cyclic_returns_after_its_period(period: Any, seconds: float) -> None:
    fitted = fit_feature(Cyclic("timestamp", period, harmonics=3), np.array([0]))
    start = np.arange(-5, 5) * 123_457 + 893_286_638
    turn = 2 * np.pi * np.arange(1, 4) * start[:, None] / seconds
    expected = np.concatenate([np.sin(turn), np.cos(turn)], axis=1)
    np.testing.assert_allclose(fitted.encode(start), expected, atol=1e-5)
    later = start + round(seconds * 10_000)
    np.testing.assert_allclose(fitted.encode(later), fitted.encode(start), atol=1e-5)
    assert fitted.encode(np.array([MISSING_INT])).tolist() == [[0.0] * 6]
    assert fitted.width == 6


def test_cyclic_is_a_quarter_turn_at_six_in_the_morning() -> None:
    fitted = fit_feature(Cyclic("t", "hour_of_day"), np.array([0]))
    morning = int(datetime(2024, 2, 29, 6, tzinfo=UTC).timestamp())
    np.testing.assert_allclose(fitted.encode(np.array([morning])), [[1.0, 0.0]], atol=1e-6)


def test_vector_marks_missing_rows() -> None:
    nan = np.nan
    column = np.array([[1, 2], [nan, nan], [nan, 4]], np.float32)
    fitted = fit_feature(Vector("image"), column)
    assert fitted.encode(column).tolist() == [[1, 2, 0], [0, 0, 1], [0, 0, 1]]
    assert fitted.width == 3
    assert fitted.encode(np.zeros((2, 0), np.float32)).tolist() == [[0, 0, 1]] * 2  # a table without any
    with pytest.raises(DataError, match=r"'image' holds vectors of .3,. numbers, expected 2"):
        fitted.encode(np.zeros((1, 3), np.float32))


@pytest.mark.parametrize(
    ("spec", "column"),
    [
        (Bucket("x"), np.full(3, MISSING_INT)),
        (Normalize("x"), np.full(3, np.nan)),
        (Vector("x"), np.full((3, 2), np.nan, np.float32)),
        (Vector("x"), np.zeros((3, 0), np.float32)),
    ],
)
def test_a_column_without_a_value_cannot_be_fitted(spec: FeatureSpec, column: np.ndarray) -> None:
    with pytest.raises(DataError, match="column 'x' holds no value in the training rows") as caught:
        fit_feature(spec, column)
    assert caught.value.hint == "leave the feature out"


@pytest.mark.parametrize("spec", [Bucket("x"), Normalize("x"), Vector("x")])
def test_an_infinite_value_cannot_be_fitted(spec: FeatureSpec) -> None:
    column = np.array([1.0, np.inf, 2.0])
    with pytest.raises(DataError, match="column 'x', row 1: inf, expected a finite number"):
        fit_feature(spec, column[:, None].astype(np.float32) if isinstance(spec, Vector) else column)


COLUMNS = {
    "string": strings("a", "b"),
    "int": np.array([1, 2]),
    "float": np.array([1.0, 2.5]),
    "strings": np.array([["a", "b"], ["a", ""]], object),
    "vector": np.ones((2, 3), np.float32),
}
SUITS: dict[type[Feature], set[str]] = {
    Id: {"string", "int"},
    Category: {"string", "int"},
    Tags: {"strings"},
    Text: {"string"},
    Bucket: {"int", "float"},
    Normalize: {"int", "float"},
    Cyclic: {"int"},
    Vector: {"vector"},
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("cls", SUITS)
def test_a_feature_takes_the_types_that_suit_it(cls: Any, kind: str) -> None:
    spec: FeatureSpec = cls("x")
    if kind in SUITS[cls]:
        fitted = fit_feature(spec, COLUMNS[kind])
        assert fitted.type == kind
        assert load_feature(spec, fitted.type, fitted.to_dict()) == fitted
        assert fitted.encode(COLUMNS[kind]).dtype in (np.int32, np.float32)
    else:
        with pytest.raises(DataError, match=rf"{cls.__name__}\('x'\) needs a column of type .*, got {kind}"):
            fit_feature(spec, COLUMNS[kind])


def test_kinds_of_fitted_features() -> None:
    assert isinstance(fit_feature(Id("x"), COLUMNS["string"]), Lookup)
    assert isinstance(fit_feature(Tags("x"), COLUMNS["strings"]), Words)


TEXTS = ["a", "b", "a", "", "The Kelvin K", "the b", None]


@pytest.mark.parametrize(
    "spec", [Id("x"), Category("x", min_count=2), Text("x", vocabulary=3, length=2), Text("x")]
)
def test_coded_texts_fit_and_encode_as_plain_ones(spec: FeatureSpec) -> None:
    frame = pl.DataFrame({"x": TEXTS * 3, "y": ["b", "new", None, "a"] * 5 + ["the"]})
    plain, coded = to_columns(frame), to_coded_columns(frame)
    fitted = fit_feature(spec, coded["x"])
    assert fitted == fit_feature(spec, plain["x"])
    for name in ("x", "y"):
        np.testing.assert_array_equal(fitted.encode(coded[name]), fitted.encode(plain[name]))


def test_coded_tags_fit_and_encode_as_plain_ones() -> None:
    frame = pl.DataFrame({"x": [["a", "b"], [], None, ["b", "", None, "c"], ["b"]], "y": [["q", "b"]] * 5})
    plain, coded = to_columns(frame), to_coded_columns(frame)
    fitted = fit_feature(Tags("x", min_count=1), coded["x"])
    assert fitted == fit_feature(Tags("x"), plain["x"])
    for name in ("x", "y"):
        np.testing.assert_array_equal(fitted.encode(coded[name]), fitted.encode(plain[name]))


def test_a_column_of_many_blocks_is_fitted_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    column = np.random.default_rng(0).normal(5, 2, 1000)
    column[::7] = np.nan
    known = column[~np.isnan(column)]
    monkeypatch.setattr(fitted_module, "blocks", lambda rows: blocks(rows, 64))
    monkeypatch.setattr(fitted_module, "QUANTILE_ROWS", 500)
    standard = fit_feature(Normalize("x"), column)
    assert (standard.low, standard.high) == (known.min(), known.max())
    np.testing.assert_allclose([standard.mean, standard.deviation], [known.mean(), known.std()], rtol=1e-12)
    quantiles = fit_feature(Bucket("x", num_buckets=5, method="quantile"), column)
    sampled = column[::2][~np.isnan(column[::2])]
    np.testing.assert_array_equal(quantiles.boundaries, np.quantile(sampled, np.linspace(0, 1, 5)))
    column[900] = np.inf
    with pytest.raises(DataError, match="row 900: inf"):
        fit_feature(Normalize("x"), column)


@pytest.mark.parametrize("read", [to_columns, to_coded_columns])
def test_features_that_share_a_table_know_the_values_of_all(read: Any) -> None:
    frame = pl.DataFrame(
        {
            "best": [7, 3, None, 7],
            "list": [["3", "x"], [], None, ["3", "07", "x"]],
            "next": ["x", "", "7", "rare"],
        }
    )
    specs = [Id("best"), Tags("list"), Category("next")]
    best, bag, following = fit_shared(specs, [read(frame)[s.column] for s in specs])
    assert isinstance(bag, Words)
    assert bag.vocabulary.values == ("3", "7", "x", "07", "rare")
    assert bag.vocabulary.counts.tolist() == [2, 3, 3, 3, 1, 1]  # missing once in each flat column
    columns = read(frame)
    assert best.encode(columns["best"]).tolist() == [2, 1, 0, 2]
    assert bag.encode(columns["list"]).tolist() == [[1, 3, -1], [-1] * 3, [-1] * 3, [1, 4, 3]]
    assert following.encode(columns["next"]).tolist() == [3, 0, 2, 5]
    assert [f.spec for f in (best, bag, following)] == specs


def test_limits_hold_for_all_values_of_a_shared_table() -> None:
    specs = [Tags("a", min_count=2), Category("b", 16, min_count=2)]
    columns = [np.array([["u", "v"]], object), strings("v", "w")]
    assert [f.rows for f in fit_shared(specs, columns)] == [2, 2]  # v alone was seen twice
    texts = [Text("a", vocabulary=1, length=1), Text("b", vocabulary=1)]
    first, second = fit_shared(texts, [strings("Red red", "hat"), strings("hat", "a hat")])
    assert isinstance(first, Words) and isinstance(second, Words)
    assert first.vocabulary.values == second.vocabulary.values == ("hat",)
    assert (first.length, second.length) == (1, 16)
