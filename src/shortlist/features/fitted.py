"""Fitted features: frozen, in NumPy. Each turns a raw column into the array a model reads.

`rows` is the size of the feature's table (None without one), `width` the numbers a row of the encoded array
holds where there is no table. Multi-valued arrays are padded with -1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from shortlist._typing import MISSING_INT, Array, Doubles, Floats, Ints
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError
from shortlist.specs.features import (
    PERIODS,
    Bucket,
    Category,
    Cyclic,
    FeatureSpec,
    Id,
    Normalize,
    Tags,
    Text,
    Vector,
)

WORD = re.compile(r"[A-Za-z0-9]+")
ColumnType = Literal["string", "int", "float", "strings", "vector"]


@dataclass(frozen=True)
class Lookup:
    """Id and Category: value -> row, 0 where unknown. Encodes to int32 [n]."""

    spec: Id | Category
    vocabulary: Vocabulary
    type: ColumnType
    width: int = 0

    @property
    def rows(self) -> int | None:
        return self.vocabulary.size

    def encode(self, column: Array) -> Ints:
        return self.vocabulary.lookup(column)

    def to_dict(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary.to_dict()}


@dataclass(frozen=True)
class Words:
    """Tags and Text: values -> rows [n, length], padded with -1, 0 where unknown."""

    spec: Tags | Text
    vocabulary: Vocabulary
    type: ColumnType
    length: int
    width: int = 0

    @property
    def rows(self) -> int | None:
        return self.vocabulary.size

    def encode(self, column: Array) -> Ints:
        words = column if column.ndim == 2 else tokenize(column, self.length)
        out = np.full((len(words), self.length), -1, np.int32)
        used = words[:, : self.length]
        present = used != ""
        out[:, : used.shape[1]][present] = self.vocabulary.lookup(used[present])
        return out

    def to_dict(self) -> dict[str, Any]:
        return {"vocabulary": self.vocabulary.to_dict(), "length": self.length}


@dataclass(frozen=True, eq=False)
class Buckets:
    """Bucket: number -> 1 + boundaries at or below it; 0 where missing. Encodes to int32 [n]."""

    spec: Bucket
    boundaries: Doubles
    type: ColumnType
    width: int = 0

    @property
    def rows(self) -> int | None:
        return len(self.boundaries) + 2

    def encode(self, column: Array) -> Ints:
        # int64 against float64: float32 would blur Unix seconds by a minute
        bins = 1 + np.searchsorted(self.boundaries, column, side="right")
        return np.where(missing(column), 0, bins).astype(np.int32)

    def to_dict(self) -> dict[str, Any]:
        return {"boundaries": self.boundaries.tolist()}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Buckets):
            return NotImplemented
        same = self.spec == other.spec and self.type == other.type
        return same and np.array_equal(self.boundaries, other.boundaries)

    def __hash__(self) -> int:
        return hash((self.spec, self.type, self.boundaries.tobytes()))


@dataclass(frozen=True)
class Standard:
    """Normalize: (x - mean) / deviation with x held to [low, high], the training values' range; 0 where
    missing. Encodes to float32 [n, 1]."""

    spec: Normalize
    mean: float
    deviation: float
    low: float
    high: float
    type: ColumnType
    rows: int | None = None
    width: int = 1

    def encode(self, column: Array) -> Floats:
        scaled = (np.clip(column.astype(np.float64), self.low, self.high) - self.mean) / self.deviation
        return np.where(missing(column), 0.0, scaled).astype(np.float32)[:, None]

    def to_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "deviation": self.deviation, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Cycle:
    """Cyclic: sines then cosines of the first harmonics, zeros where missing. float32 [n, 2 * harmonics]."""

    spec: Cyclic
    type: ColumnType
    rows: int | None = None

    @property
    def width(self) -> int:
        return 2 * self.spec.harmonics

    def encode(self, column: Array) -> Floats:
        gone = missing(column)
        period = PERIODS[self.spec.period]
        seconds = np.where(gone, 0, column).astype(np.float64)
        turn = 2 * np.pi * np.mod(seconds, period) / period
        angles = turn[:, None] * np.arange(1, self.spec.harmonics + 1)
        both = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        return np.where(gone[:, None], 0.0, both).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Given:
    """Vector: the numbers as they are, zeros where missing, then a flag that is 1 where missing."""

    spec: Vector
    size: int
    type: ColumnType = "vector"
    rows: int | None = None

    @property
    def width(self) -> int:
        return self.size + 1

    def encode(self, column: Array) -> Floats:
        if column.ndim == 2 and column.shape[1] == 0:  # a table in which every row lacks its vector
            column = np.full((len(column), self.size), np.nan)
        if column.ndim != 2 or column.shape[1] != self.size:
            raise DataError(
                f"column {self.spec.column!r} holds vectors of {column.shape[1:]} numbers,"
                f" expected {self.size}"
            )
        gone = np.isnan(column).any(axis=1, keepdims=True)
        return np.concatenate([np.where(gone, 0.0, column), gone], axis=1).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        return {"size": self.size}


Fitted = Lookup | Words | Buckets | Standard | Cycle | Given


def missing(column: Array) -> Array:
    """Where a number is missing: the smallest int64, or NaN. bool [n]."""
    return column == MISSING_INT if column.dtype.kind == "i" else np.isnan(column)


def tokenize(texts: Array, length: int) -> Array:
    """The first `length` words of each text as object [n, length], padded with "".

    Words are found before they are lower-cased: the lower case of a few letters, such as the Kelvin sign,
    is an ASCII letter, which ONNX's own lower-casing does not know.
    """
    out = np.full((len(texts), length), "", object)
    for row, text in enumerate(texts):
        words = WORD.findall(text)[:length]
        out[row, : len(words)] = [word.lower() for word in words]
    return out


def type_of(column: Array) -> ColumnType:
    """The canonical type of a raw column."""
    if column.ndim == 2:
        return "strings" if column.dtype.kind == "O" else "vector"
    types: dict[str, ColumnType] = {"O": "string", "i": "int", "f": "float"}
    return types[column.dtype.kind]


def fit_feature(spec: FeatureSpec, column: Array) -> Fitted:
    """Fit one feature on a training column; DataError where its type does not suit."""
    kind = type_of(column)
    allowed, fit = _FITS[type(spec)]
    if kind not in allowed:
        raise DataError(
            f"feature {type(spec).__name__}({spec.column!r}) needs a column of type"
            f" {' or '.join(allowed)}, got {kind}",
            hint=_HINTS.get((type(spec), kind), ""),
        )
    fitted: Fitted = fit(spec, column, kind)
    return fitted


def load_feature(spec: FeatureSpec, kind: ColumnType, plain: dict[str, Any]) -> Fitted:
    """A fitted feature from its spec, its column type and its `to_dict`."""
    match spec:
        case Id() | Category():
            return Lookup(spec, Vocabulary.from_dict(plain["vocabulary"]), kind)
        case Tags() | Text():
            return Words(spec, Vocabulary.from_dict(plain["vocabulary"]), kind, plain["length"])
        case Bucket():
            return Buckets(spec, np.array(plain["boundaries"], np.float64), kind)
        case Normalize():
            return Standard(spec, plain["mean"], plain["deviation"], plain["low"], plain["high"], kind)
        case Cyclic():
            return Cycle(spec, kind)
        case Vector():
            return Given(spec, plain["size"])


def _lookup(spec: Id | Category, column: Array, kind: ColumnType) -> Fitted:
    min_count = spec.min_count if isinstance(spec, Category) else 1
    return Lookup(spec, Vocabulary.fit(column, min_count=min_count), kind)


def _tags(spec: Tags, column: Array, kind: ColumnType) -> Fitted:
    present = column[column != ""]
    return Words(spec, Vocabulary.fit(present, min_count=spec.min_count), kind, max(1, column.shape[1]))


def _text(spec: Text, column: Array, kind: ColumnType) -> Fitted:
    words = tokenize(column, spec.length)
    return Words(spec, Vocabulary.fit(words[words != ""], max_size=spec.vocabulary), kind, spec.length)


def _bucket(spec: Bucket, column: Array, kind: ColumnType) -> Fitted:
    values = _known(spec, column)
    if spec.method == "uniform":
        boundaries = np.linspace(values.min(), values.max(), spec.num_buckets)
    else:
        boundaries = np.quantile(values, np.linspace(0, 1, spec.num_buckets))
    return Buckets(spec, np.unique(boundaries), kind)


def _standard(spec: Normalize, column: Array, kind: ColumnType) -> Fitted:
    values = _known(spec, column)
    # rounding can give a constant column a deviation of 1e-17, which would blow up any other value
    low, high = float(values.min()), float(values.max())
    return Standard(spec, float(values.mean()), float(values.std()) if high > low else 1.0, low, high, kind)


def _cycle(spec: Cyclic, column: Array, kind: ColumnType) -> Fitted:
    return Cycle(spec, kind)


def _vector(spec: Vector, column: Array, kind: ColumnType) -> Fitted:
    _known(spec, column)
    return Given(spec, column.shape[1])


def _known(spec: FeatureSpec, column: Array) -> Doubles:
    """The values that are there, as float64; DataError where there is none, or one is infinite."""
    gone = missing(column) if column.ndim == 1 else np.isnan(column).any(axis=1)
    values = column[~gone].astype(np.float64)
    if not values.size:
        raise DataError(
            f"column {spec.column!r} holds no value in the training rows", hint="leave the feature out"
        )
    infinite = np.isinf(column).reshape(len(column), -1).any(axis=1)
    if infinite.any():
        row = int(np.argmax(infinite))
        found = column[row][np.isinf(column[row])][0] if column.ndim == 2 else column[row]
        raise DataError(f"column {spec.column!r}, row {row}: {found}, expected a finite number")
    return values


_FITS: dict[type, tuple[tuple[str, ...], Callable[..., Fitted]]] = {
    Id: (("string", "int"), _lookup),
    Category: (("string", "int"), _lookup),
    Tags: (("strings",), _tags),
    Text: (("string",), _text),
    Bucket: (("int", "float"), _bucket),
    Normalize: (("int", "float"), _standard),
    Cyclic: (("int",), _cycle),
    Vector: (("vector",), _vector),
}
_HINTS = {
    (Id, "float"): "round it to whole numbers, or use Bucket or Normalize",
    (Category, "float"): "use Bucket or Normalize for measured numbers",
    (Category, "strings"): "use Tags for several values a row",
    (Tags, "string"): "give lists of values (JSON lines or Parquet; CSV has none), or use Text or Category",
    (Text, "strings"): "use Tags for lists of values",
    (Bucket, "string"): "use Category for text values",
    (Normalize, "string"): "use Category for text values",
    (Cyclic, "float"): "timestamps are whole seconds: cast the column to int64",
    (Cyclic, "string"): "timestamps are whole seconds: parse the column first",
}
