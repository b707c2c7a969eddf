"""Each fitted feature as TensorFlow operations: raw column in, exactly what its NumPy `encode` gives out.

TensorFlow is handed in, so that nothing is imported here that the learning column does not already have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from shortlist._typing import MISSING_INT, Array
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import ExportError
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
from shortlist.features.history import Recent, Total, bag_names, list_names
from shortlist.specs.features import PERIODS
from shortlist.specs.gaps import GAPS

Tensor: TypeAlias = Any
"""A tf.Tensor: TensorFlow is an extra, so its types are not known here."""
Tensors = dict[str, Tensor]

_DECIMAL = re.compile("0|-?[1-9][0-9]{0,18}")
_DTYPES = {"string": "string", "int": "int64", "float": "float64", "vector": "float32"}
_LISTS = {"strings": "string", "ints": "int64", "floats": "float64"}


class Features:
    """The features of one or both sides of a model, with their lookup tables.

    tables: every tf.lookup table made, to be tracked by whoever saves them.
    """

    def __init__(self, tf: Any) -> None:
        self.tf = tf
        self.tables: list[Any] = []
        self._known: dict[tuple[Any, ...], Any] = {}

    def specs(self, *sides: Side) -> dict[str, Any]:
        """A tf.TensorSpec a raw column: [b], of lists [b, any], of vectors [b, size]."""
        found: dict[str, Any] = {}
        for feature in (f for side in sides for f in side.features):
            size = feature.size if isinstance(feature, Given) else 0
            found |= {name: spec_of(self.tf, name, kind, size) for name, kind in columns_of(feature).items()}
        return found

    def encode(self, side: Side, columns: Mapping[str, Tensor]) -> Tensors:
        """The encoded features of a side by key, from its raw columns."""
        encoded: Tensors = {}
        for feature in side.features:
            if isinstance(feature, Recent):
                encoded |= self._recent(feature, columns)
            elif isinstance(feature, Total):
                encoded |= self._total(feature, columns)
            else:
                encoded[feature.spec.key] = self._encoded(feature, columns[feature.spec.column])
        return encoded

    def table(self, keys: Array, values: Array, default: int) -> Any:
        """A lookup table: keys of texts or whole numbers -> int64. The same content makes one table."""
        named = (keys.dtype.kind, tuple(keys.tolist()), tuple(values.tolist()), default)
        if named not in self._known:
            text = keys.dtype.kind == "O"
            pairs = self.tf.lookup.KeyValueTensorInitializer(
                self.tf.constant(keys.tolist(), "string" if text else "int64", shape=[len(keys)]),
                self.tf.constant(values, "int64"),
            )
            self._known[named] = self.tf.lookup.StaticHashTable(pairs, default)
            self.tables.append(self._known[named])
        return self._known[named]

    def _encoded(self, feature: Fitted, column: Tensor) -> Tensor:
        if type(feature) not in ENCODERS:
            raise ExportError(
                f"feature {type(feature.spec).__name__}({feature.spec.column!r}) has no form in TensorFlow",
                hint="leave it out, precompute it into a column, or serve the bundle, which has it",
            )
        return ENCODERS[type(feature)](self, feature, column)

    def slots(self, vocabulary: Vocabulary, values: Tensor, *, missing: int) -> Tensor:
        """Vocabulary slots as int32, 0 where unknown, `missing` where missing."""
        slots: dict[Any, int] = {value: slot for slot, value in enumerate(vocabulary.values, start=1)}
        whole = values.dtype != self.tf.string
        if whole and vocabulary.kind == "str":  # a table shared with texts: whole numbers in decimal form
            slots = {int(value): slot for value, slot in slots.items() if _is_decimal(value)}
        slots = {MISSING_INT if whole else "": missing} | slots
        keys = np.array([*slots, None], object)[:-1]
        table = self.table(keys.astype(np.int64) if whole else keys, np.array([*slots.values()]), 0)
        return self.tf.cast(table.lookup(values), "int32")

    def cut(self, lists: Tensor, length: int, fill: Any) -> Tensor:
        """Lists [b, any] cut or padded to [b, length]."""
        tf = self.tf
        rows = tf.shape(lists)[0]
        padding = tf.fill([rows, length], tf.constant(fill, lists.dtype))
        return tf.ensure_shape(tf.concat([lists, padding], 1)[:, :length], [None, length])

    def missing(self, column: Tensor) -> Tensor:
        """Where a number is missing: bool, of the column's shape."""
        if column.dtype == self.tf.int64:
            return self.tf.equal(column, MISSING_INT)
        return self.tf.math.is_nan(column)

    def reached(self, boundaries: Array, x: Tensor) -> Tensor:
        """How many boundaries lie at or below each x [n]: int32 [n]."""
        return self.tf.searchsorted(self.tf.constant(boundaries, x.dtype), x, side="right")

    def _recent(self, feature: Recent, columns: Mapping[str, Tensor]) -> Tensors:
        tf, key, length = self.tf, feature.spec.key, feature.spec.length
        items, times, _, _ = list_names(feature.spec.as_of)
        slots = self.cut(self.slots(feature.vocabulary, columns[items], missing=-1), length, -1)
        if not feature.timed:
            return {key: slots, f"{key}@gap": tf.zeros_like(slots)}
        then = self.cut(columns[times], length, MISSING_INT)
        now = columns["timestamp"][:, None]
        flat = tf.reshape(tf.abs(now - then), [-1])
        buckets = 1 + tf.reshape(self.reached(np.array(GAPS, np.int64), flat), tf.shape(slots))
        gone = self.missing(then) | self.missing(now) | (slots < 0)
        return {key: slots, f"{key}@gap": tf.where(gone, 0, buckets)}

    def _total(self, feature: Total, columns: Mapping[str, Tensor]) -> Tensors:
        tf, key, length = self.tf, feature.spec.key, feature.spec.length
        items, residual = bag_names(feature.spec)
        slots = self.cut(self.slots(feature.vocabulary, columns[items], missing=-1), length, -1)
        if not feature.spec.rated:
            return {key: slots}
        given = tf.cast(columns[residual], "float32")
        known = tf.where(tf.math.is_nan(given), tf.zeros_like(given), given)
        return {key: slots, f"{key}@weight": self.cut(known, length, 0)}


Encode: TypeAlias = Callable[[Features, Any, Tensor], Tensor]


def _is_decimal(text: Any) -> bool:
    """Whether it is what `str` makes of an int64 that is not missing."""
    return bool(_DECIMAL.fullmatch(text)) and MISSING_INT < int(text) < 2**63


def _lookup(f: Features, feature: Lookup, column: Tensor) -> Tensor:
    return f.slots(feature.vocabulary, column, missing=0)


def _words(f: Features, feature: Words, column: Tensor) -> Tensor:
    if len(column.shape) == 1:
        # ASCII words alone are left, so that nothing but ASCII letters is lower-cased
        words = f.tf.strings.lower(f.tf.strings.regex_replace(column, "[^A-Za-z0-9]+", " "))
        column = f.tf.strings.split(words).to_tensor(default_value="")
    return f.cut(f.slots(feature.vocabulary, column, missing=-1), feature.length, -1)


def _buckets(f: Features, feature: Buckets, column: Tensor) -> Tensor:
    """In double, as in NumPy: float32 would blur Unix seconds by a minute."""
    bins = 1 + f.reached(feature.boundaries, f.tf.cast(column, "float64"))
    return f.tf.where(f.missing(column), 0, bins)


def _standard(f: Features, feature: Standard, column: Tensor) -> Tensor:
    held = f.tf.clip_by_value(f.tf.cast(column, "float64"), feature.low, feature.high)
    scaled = f.tf.cast((held - feature.mean) / feature.deviation, "float32")
    return f.tf.where(f.missing(column), f.tf.zeros_like(scaled), scaled)[:, None]


def _cycle(f: Features, feature: Cycle, column: Tensor) -> Tensor:
    tf, period = f.tf, float(PERIODS[feature.spec.period])
    seconds = tf.where(f.missing(column), tf.zeros_like(column), column)
    turn = 2 * np.pi * tf.math.floormod(tf.cast(seconds, "float64"), tf.constant(period, "float64")) / period
    angles = turn[:, None] * tf.constant(np.arange(1, feature.spec.harmonics + 1), "float64")
    waves = tf.cast(tf.concat([tf.sin(angles), tf.cos(angles)], 1), "float32")
    return tf.where(f.missing(column)[:, None], tf.zeros_like(waves), waves)


def _given(f: Features, feature: Given, column: Tensor) -> Tensor:
    gone = f.tf.reduce_any(f.tf.math.is_nan(column), axis=1, keepdims=True)
    numbers = f.tf.where(gone, f.tf.zeros_like(column), column)
    return f.tf.concat([numbers, f.tf.cast(gone, "float32")], 1)


ENCODERS: dict[type, Encode] = {
    Lookup: _lookup,
    Words: _words,
    Buckets: _buckets,
    Standard: _standard,
    Cycle: _cycle,
    Given: _given,
}
"""Every kind of fitted feature that reads one column, and its operations."""


def spec_of(tf: Any, name: str, kind: ColumnType, size: int = 0) -> Any:
    """The tf.TensorSpec of a raw column."""
    shape: list[int | None] = [None]
    if kind in _LISTS or kind == "vector":
        shape += [size or None]
    return tf.TensorSpec(shape, _DTYPES.get(kind, _LISTS.get(kind)), name=name)
