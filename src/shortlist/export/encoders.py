"""Each fitted feature as ONNX nodes: raw column in, exactly what its NumPy `encode` gives out.

Numbers are compared and scaled in double, as in NumPy: float32 would blur Unix seconds by a minute.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
from onnx import TensorProto

from shortlist._typing import MISSING_INT
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import ExportError
from shortlist.export.builder import GraphBuilder
from shortlist.export.graph import Ref, Value
from shortlist.export.views import bounds
from shortlist.features.columns import ColumnType
from shortlist.features.encoder import Side
from shortlist.features.fitted import (
    Buckets,
    Cycle,
    Fitted,
    Given,
    Lookup,
    Standard,
    Words,
    columns_of,
)
from shortlist.features.history import DERIVED, Recent, Total, bag_names, list_names
from shortlist.specs.features import PERIODS
from shortlist.specs.gaps import GAPS

_LISTS: dict[str, Any] = {"strings": "string", "ints": np.int64, "floats": np.float64}
DECIMAL = re.compile("0|-?[1-9][0-9]{0,18}")
Encode: TypeAlias = Callable[[GraphBuilder, Any, Ref], Value]


def encode_side(g: GraphBuilder, side: Side, columns: dict[str, Ref]) -> dict[str, Value]:
    """The nodes of a whole side: its features by key, from the graph's raw inputs by column name."""
    encoded: dict[str, Value] = {}
    for feature in side.features:
        if isinstance(feature, Recent):
            encoded |= _recent(g, feature, columns)
        elif isinstance(feature, Total):
            encoded |= _total(g, feature, columns)
        else:
            encoded[feature.spec.key] = encode_feature(g, feature, columns[feature.spec.column])
    return encoded


def encode_feature(g: GraphBuilder, feature: Fitted, column: Ref) -> Value:
    """One feature's nodes. Raises ExportError for a feature kind without an ONNX form."""
    if type(feature) not in ENCODERS:
        raise ExportError(
            f"feature {type(feature.spec).__name__}({feature.spec.column!r}) has no ONNX form",
            hint="leave it out, or precompute it into a column of its own",
        )
    return ENCODERS[type(feature)](g, feature, column)


def raw_inputs(g: GraphBuilder, *sides: Side) -> dict[str, Ref]:
    """Declare one input a raw column, shared where both sides read it.

    Shapes: string, int and float [b]; strings, ints and floats [b, any length]; vector [b, size]. Lists that
    say something of the same events have one length.
    Raises ExportError when two sides read one column as different types.
    """
    kinds: dict[str, tuple[ColumnType, int]] = {}
    for feature in (f for side in sides for f in side.features):
        for name, type_ in columns_of(feature).items():
            kind = (type_, feature.size if isinstance(feature, Given) else 0)
            if kinds.setdefault(name, kind) != kind:
                raise ExportError(
                    f"column {name!r} is {kinds[name][0]} to one feature and {type_} to another",
                    hint="rename one of the columns",
                )
    return {name: _input(g, name, *kind) for name, kind in kinds.items()}


def _input(g: GraphBuilder, name: str, kind: ColumnType, size: int) -> Ref:
    if kind == "string":
        return g.input(name, "string", ("b",))
    if kind in _LISTS:  # each list has a length of its own, and what goes with it the same
        length = f"length{crc32(_events_of(name).encode())}"
        return g.input(name, _LISTS[kind], ("b", length))
    if kind == "vector":
        return g.input(name, np.float32, ("b", size))
    return g.input(name, np.int64 if kind == "int" else np.float64, ("b",))


def _events_of(name: str) -> str:
    """What lists of one length are named after."""
    return name.removesuffix("_timestamp").removesuffix("_residual") if name in DERIVED else name


def _slots(g: GraphBuilder, vocabulary: Vocabulary, values: Ref, *, missing: int) -> Ref:
    """Vocabulary slots as int64, 0 where unknown, `missing` where missing."""
    slots: dict[Any, int] = {value: slot for slot, value in enumerate(vocabulary.values, start=1)}
    whole = values.dtype.kind == "i"
    if whole and vocabulary.kind == "str":  # a table shared with texts: whole numbers in decimal form
        slots = {int(value): slot for value, slot in slots.items() if _is_decimal(value)}
    keys = [MISSING_INT if whole else "", *slots]
    known: dict[str, Any] = {
        "keys_int64s" if whole else "keys_strings": keys,
        "values_int64s": [missing, *slots.values()],
        "default_int64": 0,
    }
    found = g.op("LabelEncoder", [values], values.shape, np.int64, domain="ai.onnx.ml", **known)
    return g.bound(found, min(0, missing), len(vocabulary))


def _is_decimal(text: Any) -> bool:
    """Whether it is what `str` makes of an int64 that is not missing."""
    return bool(DECIMAL.fullmatch(text)) and MISSING_INT < int(text) < 2**63


def _lookup(g: GraphBuilder, feature: Lookup, column: Ref) -> Value:
    return _slots(g, feature.vocabulary, column, missing=0)


def _words(g: GraphBuilder, feature: Words, column: Ref) -> Value:
    if len(column.shape) == 1:
        # The C locale knows no letters but ASCII, on every system; nothing else can enter a word.
        lower = {"case_change_action": "LOWER", "locale": "C"}
        text = g.op("StringNormalizer", [column], column.shape, object, **lower)
        words = {"tokenexp": "[a-z0-9]+", "mincharnum": 1, "mark": 0, "pad_value": ""}
        found = g.op("Tokenizer", [text], ("b", "words"), object, domain="com.microsoft", **words)
        # ONNX's checker does not know what a Tokenizer gives, and crashes unless it is told
        column = g.op("Cast", [found], found.shape, object, to=int(TensorProto.STRING))
    return _cut(g, _slots(g, feature.vocabulary, column, missing=-1), feature.length, -1)


def _cut(g: GraphBuilder, lists: Ref, length: int, fill: float) -> Ref:
    """Lists [b, any] cut or padded to [b, length]."""
    batch, given = lists.shape
    ends = np.array([0, 0, 0, length])
    padded = g.op("Pad", [lists, ends, np.array(fill, lists.dtype)], (batch, given + length), lists.dtype)
    zeros, stops = np.zeros(2, np.int64), np.array([np.iinfo(np.int64).max, length])
    cut, known = g.slice(padded, zeros, stops, [1, 1], (batch, length)), bounds(g, lists)
    return cut if known is None else g.bound(cut, min(known[0], int(fill)), max(known[1], int(fill)))


def _recent(g: GraphBuilder, feature: Recent, columns: dict[str, Ref]) -> dict[str, Value]:
    items, times, _, _ = list_names(feature.spec.as_of)
    key, length = feature.spec.key, feature.spec.length
    slots = _cut(g, _slots(g, feature.vocabulary, columns[items], missing=-1), length, -1)
    shape = (slots.shape[0], length)
    if not feature.timed:
        return {key: slots, f"{key}@gap": g.expand(np.zeros((1, length), np.int64), shape)}
    then = _cut(g, columns[times], length, MISSING_INT)
    now = g.reshape(columns["timestamp"], (shape[0], 1))
    gap = g.op("Abs", [g.op("Sub", [now, then], shape, np.int64)], shape, np.int64)
    wide = g.reshape(gap, (*shape, 1))
    bounds = np.array(GAPS, np.int64)[None, None]
    reached = g.op("GreaterOrEqual", [wide, bounds], (*shape, len(GAPS)), bool)
    count = g.op("ReduceSum", [g.cast(reached, np.int64), np.array([2])], shape, np.int64, keepdims=0)
    bucket = g.op("Add", [count, np.array(1, np.int64)], shape, np.int64)
    zero = np.array(0, np.int64)
    for gone in (_missing(g, then), _missing(g, now), g.op("Less", [slots, zero], shape, bool)):
        bucket = g.op("Where", [gone, zero, bucket], shape, np.int64)
    return {key: slots, f"{key}@gap": bucket}


def _total(g: GraphBuilder, feature: Total, columns: dict[str, Ref]) -> dict[str, Value]:
    items, residual = bag_names(feature.spec)
    key, length = feature.spec.key, feature.spec.length
    slots = _cut(g, _slots(g, feature.vocabulary, columns[items], missing=-1), length, -1)
    if not feature.spec.rated:
        return {key: slots}
    given = g.cast(columns[residual], np.float32)
    gone = g.op("IsNaN", [given], given.shape, bool)
    known = g.op("Where", [gone, np.array(0, np.float32), given], given.shape, np.float32)
    return {key: slots, f"{key}@weight": _cut(g, known, length, 0)}


def _buckets(g: GraphBuilder, feature: Buckets, column: Ref) -> Value:
    """Two levels: first which run of boundaries, then where in it. 2 sqrt(n) comparisons instead of n.

    A boundary below all numbers comes first, so that what is reached in a run counts from 1; nothing reaches
    the padding after the last.
    """
    num = len(feature.boundaries)
    size = max(1, int(np.ceil(np.sqrt(num + 1))))
    padding = np.full(-(num + 1) % size, np.nan)
    runs = np.concatenate([[-np.inf], feature.boundaries, padding]).reshape(-1, size)
    x = g.reshape(g.cast(column, np.float64), (column.shape[0], 1))
    run = _count(g, x, runs[1:, 0][None])
    within = g.op("Gather", [runs, run], (column.shape[0], size), np.float64, axis=0)
    before = g.op("Mul", [run, np.array(size, np.int64)], column.shape, np.int64)
    bins = g.op("Add", [before, _count(g, x, within)], column.shape, np.int64)
    if column.dtype.kind == "i":  # what is no number reaches nothing: slot 0
        bins = g.op("Where", [_missing(g, column), np.array(0, np.int64), bins], column.shape, np.int64)
    return g.bound(bins, 0, num + 1)


def _count(g: GraphBuilder, x: Value, boundaries: Value) -> Ref:
    """How many of the boundaries of its row each x [b, 1] has reached: int64 [b]."""
    reached = g.op("GreaterOrEqual", [x, boundaries], (x.shape[0], boundaries.shape[1]), bool)
    ones = g.cast(reached, np.int64)
    return g.op("ReduceSum", [ones, np.array([1])], (x.shape[0],), np.int64, keepdims=0)


def _standard(g: GraphBuilder, feature: Standard, column: Ref) -> Value:
    bounds = [np.array(bound, np.float64) for bound in (feature.low, feature.high)]
    held = g.op("Clip", [g.cast(column, np.float64), *bounds], column.shape, np.float64)
    centred = g.op("Sub", [held, np.array(feature.mean, np.float64)], column.shape, np.float64)
    scaled = g.op("Div", [centred, np.array(feature.deviation, np.float64)], column.shape, np.float64)
    known = g.op(
        "Where",
        [_missing(g, column), np.array(0, np.float32), g.cast(scaled, np.float32)],
        column.shape,
        np.float32,
    )
    return g.reshape(known, (column.shape[0], 1))


def _cycle(g: GraphBuilder, feature: Cycle, column: Ref) -> Value:
    period, shape = np.array(PERIODS[feature.spec.period], np.float64), (column.shape[0], 1)
    gone = g.reshape(_missing(g, column), shape)
    seconds = g.reshape(g.cast(column, np.float64), shape)
    rest = g.op("Mod", [seconds, period], shape, np.float64, fmod=1)  # below zero as good: waves repeat
    turn = g.op("Mul", [rest, np.array(2 * np.pi / period, np.float64)], shape, np.float64)
    harmonics = np.arange(1, feature.spec.harmonics + 1, dtype=np.float64)
    wide = (column.shape[0], 2 * len(harmonics))
    # cos(x) is sin(x + pi / 2): ONNX Runtime has no cosine in double
    angles = g.op("Mul", [turn, np.tile(harmonics, 2)[None]], wide, np.float64)
    angles = g.op("Add", [angles, np.repeat([0, np.pi / 2], len(harmonics))[None]], wide, np.float64)
    waves = g.cast(g.op("Sin", [angles], wide, np.float64), np.float32)
    return g.op("Where", [gone, np.array(0, np.float32), waves], wide, np.float32)


def _given(g: GraphBuilder, feature: Given, column: Ref) -> Value:
    flag = (column.shape[0], 1)
    nan = g.cast(g.op("IsNaN", [column], column.shape, bool), np.float32)
    gone = g.op("ReduceMax", [nan, np.array([1])], flag, np.float32, keepdims=1)
    numbers = g.op("Where", [g.cast(gone, bool), np.array(0, np.float32), column], column.shape, np.float32)
    return g.join([numbers, gone], 1)


def _missing(g: GraphBuilder, column: Value) -> Value:
    if column.dtype.kind == "i":
        return g.op("Equal", [column, np.array(MISSING_INT, np.int64)], column.shape, bool)
    return g.op("IsNaN", [column], column.shape, bool)


ENCODERS: dict[type, Encode] = {
    Lookup: _lookup,
    Words: _words,
    Buckets: _buckets,
    Standard: _standard,
    Cycle: _cycle,
    Given: _given,
}
"""Every kind of fitted feature and its nodes."""
