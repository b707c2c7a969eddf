"""Every fitted feature's ONNX nodes give what its NumPy form gives."""

from __future__ import annotations

import typing
from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest

from shortlist._typing import MISSING_INT, Array
from shortlist.errors import ExportError
from shortlist.export.builder import GraphBuilder
from shortlist.export.encoders import ENCODERS, encode_side, raw_inputs
from shortlist.export.views import bounds
from shortlist.features.encoder import Side
from shortlist.features.fitted import Fitted, fit_feature, fit_shared
from shortlist.features.history import Recent, Total
from shortlist.specs.features import (
    Bag,
    Bucket,
    Category,
    Cyclic,
    FeatureSpec,
    History,
    Id,
    Normalize,
    Tags,
    Text,
    Vector,
)

TIMES = np.array([881_250_949, 879_024_327, 893_286_638, 874_724_710, MISSING_INT])
ODD_TIMES = np.array([*TIMES, 0, -1, -(2**40), 2**40, 2**31, 893_286_637, 2**52 + 1, MISSING_INT + 1])
YEARS = np.array([1995.0, 1994.5, 1972.0, np.nan])
ODD_YEARS = np.array([*YEARS, 0.0, -1e300, 1e300, np.inf, -np.inf, 1994.5000000001])
IDS = np.array(["42", "7", "", "é", "a b"], object)
ODD_IDS = np.array([*IDS, "43", "e", " 42", "A B", "42\n", "日本", "0042", "x" * 5000], object)
TITLES = np.array(["Dances with Wolves (1990)", "L.A. Confidential", "Amélie 2", ""], object)
ODD_TITLES = np.array(
    [
        *TITLES,
        "   ",
        "DANCES WITH wolves",
        "日本語 only",
        "Ünïcode ÄÖ wolves 1990",
        "ſharp S ß 😀 with",
        "\t\nwith\u00a0wolves\u2028la",
        "with " * 4000,
        "x" * 3000,
    ],
    object,
)
GENRES = np.array([["Drama", "Sci-Fi"], ["Comedy", ""], ["", ""]], object)
ODD_GENRES = np.array(
    [["Drama", "Comedy", "Sci-Fi"], ["no such", "", ""], ["", "", ""], ["x", "", "Drama"]], object
)
VECTORS = np.array([[1, 2, 3], [np.nan] * 3, [-1, 0.5, 1e-6]], np.float32)
ODD_VECTORS = np.array([[0, 0, 0], [np.nan, 1, 1], [1e30, -1e30, 0]], np.float32)

CASES: list[tuple[FeatureSpec, Array, Array]] = [
    (Id("user_id"), IDS, ODD_IDS),
    (Id("user_id"), np.array([5, -3, 2**40, MISSING_INT]), np.array([5, 6, -3, 2**40, MISSING_INT, 0])),
    (
        Category("job", min_count=2),
        np.array(["a", "a", "b", ""], object),
        np.array(["a", "b", "", "é"], object),
    ),
    (Category("job", min_count=9), np.array(["a", "b"], object), np.array(["a", "", "z"], object)),
    (Category("zip", min_count=9), np.array([1, 2]), np.array([1, MISSING_INT])),
    (Tags("genres"), GENRES, GENRES),
    (Tags("genres"), GENRES, ODD_GENRES),
    (Tags("genres"), GENRES, GENRES[:, :1]),
    (Tags("genres", min_count=9), GENRES, ODD_GENRES),
    (Text("title"), TITLES, ODD_TITLES),
    (Text("title", vocabulary=2, length=3), TITLES, ODD_TITLES),
    (Text("title"), TITLES, np.array([""], object)),
    (Text("title"), TITLES, np.array(["", "日本語", "..."], object)),
    (Bucket("time"), TIMES, ODD_TIMES),
    (Bucket("time", num_buckets=7, method="quantile"), TIMES, ODD_TIMES),
    (Bucket("time", num_buckets=1), TIMES, ODD_TIMES),
    (Bucket("year", num_buckets=10), YEARS, ODD_YEARS),
    (Normalize("time"), TIMES, ODD_TIMES),
    (Normalize("year"), YEARS, ODD_YEARS[np.abs(np.nan_to_num(ODD_YEARS, posinf=0, neginf=0)) < 1e9]),
    (Cyclic("time", "hour"), TIMES, ODD_TIMES),
    (Cyclic("time", "hour_of_day", harmonics=3), TIMES, ODD_TIMES),
    (Cyclic("time", "day_of_week"), TIMES, ODD_TIMES),
    (Cyclic("time", "day_of_year"), TIMES, ODD_TIMES),
    (Vector("image"), VECTORS, np.concatenate([VECTORS, ODD_VECTORS])),
]
NOW = np.array([1_000_000, -5, MISSING_INT, 2**40, 0])
FAR = 2**60
LISTED = np.array(
    [
        ["42", "7", "no such", "é", "a b"],
        ["7", "", "", "", ""],
        ["42", "42", "", "", ""],
        [""] * 5,
        ["é", "x" * 5000, "7", "", ""],
    ],
    object,
)
THEN = np.array(
    [
        [999_999, 1_000_000, 999_940, MISSING_INT, -FAR],
        [-5 - 86_400, MISSING_INT, 3, 4, 5],
        [1, 2, 3, 4, 5],
        [MISSING_INT] * 5,
        [0, FAR, -FAR, MISSING_INT, MISSING_INT],
    ]
)
RESIDUALS = np.array(
    [[0.5, -1.25, np.nan, 3, 1e-3], [2, *[np.nan] * 4], [1, 1, *[9] * 3], [np.nan] * 5, [-4] * 5]
)
PASTS: list[FeatureSpec] = [
    *(
        History(length=length, encoder=encoder, as_of=as_of)
        for encoder in ("weighted", "mean", "gru", "attention")
        for as_of, length in (("row", 3), ("leave-one-out", 7))
    ),
    *(
        Bag(rated=rated, as_of=as_of, length=length)
        for rated in (False, True)
        for as_of, length in (("row", 2), ("leave-one-out", 9))
    ),
]


def run(features: list[Fitted], columns: dict[str, Array]) -> dict[str, Array]:
    g, side = GraphBuilder(), Side(tuple(features))
    known = {}
    for key, value in encode_side(g, side, raw_inputs(g, side)).items():
        known[key] = bounds(g, value)
        g.output(key, value)
    session = ort.InferenceSession(g.finish("encode").SerializeToString(), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    found = dict(zip(names, session.run(names, columns), strict=True))
    for feature in features:  # a lookup leaves out the guards that what is known of its slots makes needless
        if found[feature.spec.key].dtype.kind == "i":
            limits = known[feature.spec.key]
            assert limits is not None and found[feature.spec.key].size
            assert limits[0] <= found[feature.spec.key].min() and found[feature.spec.key].max() <= limits[1]
    return found


def agree(fitted: Fitted, got: Array, column: Array) -> None:
    want = fitted.encode(column)
    assert got.shape == want.shape
    if want.dtype.kind == "i":
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("spec", "training", "column"), CASES, ids=lambda x: getattr(x, "key", ""))
def test_onnx_encodes_as_numpy_does(spec: FeatureSpec, training: Array, column: Array) -> None:
    fitted = fit_feature(spec, training)
    agree(fitted, run([fitted], {spec.column: column})[spec.key], column)
    for row in range(min(len(column), 4)):  # a batch of one
        one = column[row : row + 1]
        agree(fitted, run([fitted], {spec.column: one})[spec.key], one)


def past_columns(feature: Recent | Total) -> dict[str, Array]:
    """What a feature reads, by name."""
    by_type = {"strings": LISTED, "ints": THEN, "floats": RESIDUALS, "int": NOW}
    return {name: by_type[kind] for name, kind in feature.columns.items()}


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("spec", PASTS, ids=lambda s: f"{s.key} {getattr(s, 'encoder', '')} {s.as_of}")
def test_onnx_encodes_a_past_as_numpy_does(spec: FeatureSpec, timed: bool) -> None:
    fitted = fit_feature(spec, IDS[:4])
    if isinstance(fitted, Recent):
        fitted = replace(fitted, timed=timed)
    assert isinstance(fitted, Recent | Total)
    columns = past_columns(fitted)
    assert ("timestamp" in columns) == (timed and isinstance(fitted, Recent))
    lists = [name for name, column in columns.items() if column.ndim == 2]
    for rows in (slice(None), slice(0, 1), slice(3, 4)):
        for width in (5, 1):  # longer and shorter than what is read
            given = {n: c[rows, :width] if n in lists else c[rows] for n, c in columns.items()}
            want, got = fitted.encode(given), run([fitted], given)
            assert set(got) == set(want)
            for key, array in want.items():
                # padding beyond the lists given means nothing
                fill = -1 if key == spec.key else 0
                wide = np.full(got[key].shape, fill, array.dtype)
                wide[:, : array.shape[1]] = array
                np.testing.assert_array_equal(got[key], wide, key)


def test_no_kind_of_feature_is_forgotten() -> None:
    kinds = set(typing.get_args(Fitted))
    assert set(ENCODERS) == kinds - {Recent, Total}
    past = {type(fit_feature(spec, IDS)) for spec in PASTS}
    assert {type(fit_feature(spec, training)) for spec, training, _ in CASES} | past == kinds
    specs = {type(spec) for spec, _, _ in CASES} | {type(spec) for spec in PASTS}
    assert specs == set(typing.get_args(FeatureSpec))


def test_features_of_one_column_share_its_input() -> None:
    fitted = [fit_feature(s, TIMES) for s in (Bucket("time"), Normalize("time"), Cyclic("time"))]
    got = run(fitted, {"time": ODD_TIMES})
    for feature in fitted:
        agree(feature, got[feature.spec.key], ODD_TIMES)


def test_one_column_cannot_be_two_types() -> None:
    sides = [Side((fit_feature(Bucket("year"), values),)) for values in (YEARS, TIMES)]
    with pytest.raises(ExportError, match="'year' is float to one feature and int to another"):
        raw_inputs(GraphBuilder(), *sides)


def test_a_kind_without_nodes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = fit_feature(Id("user_id"), IDS)
    monkeypatch.delitem(ENCODERS, type(fitted))
    with pytest.raises(ExportError, match=r"Id\('user_id'\) has no ONNX form"):
        run([fitted], {"user_id": IDS})


def test_whole_numbers_find_their_decimal_form_in_a_table_shared_with_texts() -> None:
    texts = np.array(["7", "07", "-3", "-0", "0", "x", "", str(2**63), str(MISSING_INT), "٣"], object)
    numbers = np.array([7, -3, 0, 5, 2**63 - 1, MISSING_INT, MISSING_INT + 1])
    bags = np.array([["5", "x"], ["", ""], ["unknown", "7"]], object)
    specs = [Category("text", 4), Id("number", 4), Tags("bag", 4)]
    fitted = fit_shared(specs, [texts, numbers[:4], bags[:1]])
    columns = {"text": np.append(texts, "new"), "number": np.append(numbers, 99), "bag": bags}
    for f in fitted:
        agree(f, run([f], {f.spec.column: columns[f.spec.column]})[f.spec.key], columns[f.spec.column])
    assert (fitted[1].encode(numbers) > 0).tolist() == [True] * 4 + [False] * 3
