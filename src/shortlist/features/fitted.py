"""Fitted features: frozen, in NumPy. Each turns a raw column into the array a model reads.

`rows` is the size of the feature's table (None without one), `width` the numbers a row of the encoded array
holds where there is no table. Multi-valued arrays are padded with -1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from shortlist._typing import MISSING_INT, Array, Doubles, Floats, Ints
from shortlist.data.coded import Coded, Column, blocks
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError
from shortlist.features.columns import ColumnType
from shortlist.features.history import Recent, Total
from shortlist.specs.features import (
    PERIODS,
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
    WithVocabulary,
)

WORD = re.compile(r"[A-Za-z0-9]+")


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

    def encode(self, column: Column) -> Ints:
        if isinstance(column, Coded):
            return self.gather(self.table_of(column), column.codes)
        return self.vocabulary.lookup(column)

    def table_of(self, column: Coded) -> Ints:
        """The slots of a coded column's values and, last, of a missing one: [m + 1]."""
        return np.append(self.vocabulary.slots_of(column), np.int32(0))

    def gather(self, table: Ints, codes: Ints) -> Ints:
        return table[codes]

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

    def encode(self, column: Column) -> Ints:
        if isinstance(column, Coded):
            return self.gather(self.table_of(column), column.codes)
        words = column if column.ndim == 2 else tokenize(column, self.length)
        out = np.full((len(words), self.length), -1, np.int32)
        used = words[:, : self.length]
        present = used != ""
        out[:, : used.shape[1]][present] = self.vocabulary.lookup(used[present])
        return out

    def table_of(self, column: Coded) -> Ints:
        """For Tags the slots of a coded column's values [m + 1], for Text the rows of its texts
        [m + 1, length]; the last is what is missing."""
        if column.ndim == 2:
            return np.append(self.vocabulary.slots_of(column), np.int32(-1))
        return self.encode(np.append(column.values, ""))

    def gather(self, table: Ints, codes: Ints) -> Ints:
        if codes.ndim == 1:
            return table[codes]
        out = np.full((len(codes), self.length), -1, np.int32)
        used = codes[:, : self.length]
        out[:, : used.shape[1]] = table[used]
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


Fitted = Lookup | Words | Buckets | Standard | Cycle | Given | Recent | Total


def columns_of(feature: Fitted) -> dict[str, ColumnType]:
    """The raw columns a feature reads, and their types."""
    return feature.columns if isinstance(feature, Recent | Total) else {feature.spec.column: feature.type}


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


def type_of(column: Column) -> ColumnType:
    """The canonical type of a raw column."""
    if column.ndim == 2:
        return "strings" if column.dtype.kind == "O" else "vector"
    types: dict[str, ColumnType] = {"O": "string", "i": "int", "f": "float"}
    return types[column.dtype.kind]


def fit_feature(spec: FeatureSpec, column: Column) -> Fitted:
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


def fit_shared(specs: Sequence[FeatureSpec], columns: Sequence[Column]) -> list[Fitted]:
    """Fit features that share a table on a column each: one vocabulary, in which a value counts as often as
    it occurs in all of them."""
    first, whole = specs[0], [fit_feature(_unlimited(s), c) for s, c in zip(specs, columns, strict=True)]
    assert isinstance(first, WithVocabulary)
    min_count, max_size = first.limits
    parts = [f.vocabulary for f in whole if isinstance(f, Lookup | Words | Recent | Total)]
    shared: dict[str, Any] = {"vocabulary": Vocabulary.union(parts, min_count=min_count, max_size=max_size)}
    return [replace(f, **shared | {"spec": s}) for f, s in zip(whole, specs, strict=True)]


def _unlimited(spec: FeatureSpec) -> FeatureSpec:
    """The feature with a row for every value."""
    match spec:
        case Category() | Tags():
            return msgspec.structs.replace(spec, min_count=1)
        case Text():
            return msgspec.structs.replace(spec, vocabulary=2**62)
    return spec


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
        case History():
            return Recent(spec, Vocabulary.from_dict(plain["vocabulary"]), plain["timed"])
        case Bag():
            return Total(spec, Vocabulary.from_dict(plain["vocabulary"]))
        case Vector():
            return Given(spec, plain["size"])


def _history(spec: History, column: Column, kind: ColumnType) -> Fitted:
    return Recent(spec, Vocabulary.fit(column), timed=False)  # whether there are times is another column's


def _bag(spec: Bag, column: Column, kind: ColumnType) -> Fitted:
    return Total(spec, Vocabulary.fit(column))


def _lookup(spec: Id | Category, column: Column, kind: ColumnType) -> Fitted:
    min_count = spec.min_count if isinstance(spec, Category) else 1
    return Lookup(spec, Vocabulary.fit(column, min_count=min_count), kind)


def _tags(spec: Tags, column: Column, kind: ColumnType) -> Fitted:
    if isinstance(column, Coded):
        counts = column.counts()
        vocabulary = Vocabulary.counted(column.values, counts, int(counts.sum()), spec.min_count)
    else:
        vocabulary = Vocabulary.fit(column[column != ""], min_count=spec.min_count)
    return Words(spec, vocabulary, kind, max(1, column.shape[1]))


def _text(spec: Text, column: Column, kind: ColumnType) -> Fitted:
    if isinstance(column, Coded):
        vocabulary = _counted_words(spec, column)
    else:
        words = tokenize(column, spec.length)
        vocabulary = Vocabulary.fit(words[words != ""], max_size=spec.vocabulary)
    return Words(spec, vocabulary, kind, spec.length)


def _counted_words(spec: Text, column: Coded) -> Vocabulary:
    """The words of distinct texts, each counted as often as its text has rows."""
    words = tokenize(column.values, spec.length)
    counts: dict[str, int] = {}
    for text, count in zip(words.tolist(), column.counts().tolist(), strict=True):
        for word in text:
            counts[word] = counts.get(word, 0) + count
    counts.pop("", None)
    values = sorted(counts)
    known = np.array([counts[word] for word in values], np.int64)
    return Vocabulary.counted(
        np.array([*values, None], object)[:-1], known, int(known.sum()), max_size=spec.vocabulary
    )


QUANTILE_ROWS = 1 << 22
"""Quantiles of a longer column are those of at most this many of its rows, evenly spaced."""


def _bucket(spec: Bucket, column: Array, kind: ColumnType) -> Fitted:
    if spec.method == "uniform":
        low, high = _range(spec, column)
        return Buckets(spec, np.unique(np.linspace(low, high, spec.num_buckets)), kind)
    _range(spec, column)  # checks every row
    values = _known(column[:: -(-len(column) // QUANTILE_ROWS)])
    if not values.size:
        raise DataError(
            f"column {spec.column!r} holds hardly a value in the training rows", hint="leave the feature out"
        )
    return Buckets(spec, np.unique(np.quantile(values, np.linspace(0, 1, spec.num_buckets))), kind)


def _standard(spec: Normalize, column: Array, kind: ColumnType) -> Fitted:
    # rounding can give a constant column a deviation of 1e-17, which would blow up any other value
    low, high = _range(spec, column)
    mean = _mean(column)
    deviation = float(np.sqrt(_mean(column, about=mean))) if high > low else 1.0
    return Standard(spec, mean, deviation, low, high, kind)


def _cycle(spec: Cyclic, column: Array, kind: ColumnType) -> Fitted:
    return Cycle(spec, kind)


def _vector(spec: Vector, column: Array, kind: ColumnType) -> Fitted:
    _range(spec, column)
    return Given(spec, column.shape[1])


def _range(spec: FeatureSpec, column: Array) -> tuple[float, float]:
    """The smallest and the largest value that is there; DataError where there is none, or one is infinite."""
    low, high = np.inf, -np.inf
    for block in blocks(len(column)):
        part = column[block]
        infinite = np.isinf(part).reshape(len(part), -1).any(axis=1)
        if infinite.any():
            row = int(np.argmax(infinite))
            found = part[row][np.isinf(part[row])][0] if part.ndim == 2 else part[row]
            raise DataError(
                f"column {spec.column!r}, row {block.start + row}: {found}, expected a finite number"
            )
        values = _known(part)
        low, high = min(low, values.min(initial=np.inf)), max(high, values.max(initial=-np.inf))
    if low > high:
        raise DataError(
            f"column {spec.column!r} holds no value in the training rows", hint="leave the feature out"
        )
    return float(low), float(high)


def _mean(column: Array, about: float | None = None) -> float:
    """The mean of the values that are there, or of their squared distance from `about`."""
    total, count = 0.0, 0
    for block in blocks(len(column)):
        values = _known(column[block])
        total += float((values if about is None else np.square(values - about)).sum())
        count += len(values)
    return total / count


def _known(column: Array) -> Doubles:
    """The values that are there, as float64."""
    gone = missing(column) if column.ndim == 1 else np.isnan(column).any(axis=1)
    known: Doubles = column[~gone].astype(np.float64)
    return known


_FITS: dict[type, tuple[tuple[str, ...], Callable[..., Fitted]]] = {
    Id: (("string", "int"), _lookup),
    Category: (("string", "int"), _lookup),
    Tags: (("strings",), _tags),
    Text: (("string",), _text),
    Bucket: (("int", "float"), _bucket),
    Normalize: (("int", "float"), _standard),
    Cyclic: (("int",), _cycle),
    History: (("string",), _history),
    Bag: (("string",), _bag),
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
