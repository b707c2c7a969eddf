"""Raw value <-> integer slot. Frozen, hashed, NumPy only: it travels inside bundles.

Slot 0 stands for everything unknown, missing values included; the values hold slots 1..n.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from shortlist._typing import MISSING_INT, Array, Ints, Longs
from shortlist.data.coded import Coded, blocks
from shortlist.errors import DataError

Kind = Literal["str", "int"]

_MANY = 1 << 16  # values that are looked up by their hashes
_SHARE = 128  # one in so many of them being looked up at once is worth a dict


class _Slots(dict[Any, int]):
    """A dict that answers 0 for what it does not hold, so that `map` runs without a default."""

    def __missing__(self, key: Any) -> int:
        return 0


class _MoreSlots(_Slots):
    """The slots of values that came later, in front of those of the values before, which are not copied."""

    def __init__(self, slots: dict[Any, int], before: _Slots | _Hashed) -> None:
        super().__init__(slots)
        self.before = before

    def __missing__(self, key: Any) -> int:
        return self.before[key]


class _Hashed:
    """The slots of very many texts by their hashes, in order, 0 of what is not there: made in a fifth of the
    time of a dict and in a tenth of its memory; a look takes two microseconds."""

    def __init__(self, values: Sequence[Any]) -> None:
        hashes = np.fromiter(map(hash, values), np.int64, len(values))
        self.values, self.order = values, hashes.argsort().astype(np.int32)
        self.hashes = hashes[self.order]
        self._looked_at = self.hashes.data  # gives Python's own numbers

    def __getitem__(self, value: Any) -> int:
        wanted, hashes = hash(value), self._looked_at
        at = bisect_left(hashes, wanted)
        while at < len(hashes) and hashes[at] == wanted:
            place = int(self.order[at])
            if self.values[place] == value:
                return place + 1
            at += 1
        return 0

    def __contains__(self, value: object) -> bool:
        return self[value] > 0

    def __len__(self) -> int:
        """How many of the values differ."""
        same = np.flatnonzero(self.hashes[1:] == self.hashes[:-1])
        near = self.order[np.union1d(same, same + 1)].tolist()
        return len(self.values) - len(near) + len({self.values[place] for place in near})


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The distinct values of one column and their slots.

    values: the known values in slot order (slot i + 1 holds values[i]); all `str` or all `int`.
    counts: int64 [size], how often each slot was seen when fitting; counts[0] counts what fell to
        "unknown" (missing, too rare, cut by `max_size`). Aligned with slots: `counts[lookup(x)]`.
    kind: "str" or "int".
    Raises DataError for repeated values, a missing value ("" or the smallest int64) among them, or
    counts of another length.
    """

    values: tuple[str, ...] | tuple[int, ...]
    counts: Longs = field(repr=False)
    kind: Kind = "str"

    def __post_init__(self) -> None:
        counts = np.array(self.counts, dtype=np.int64)
        counts.setflags(write=False)
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "values", tuple(self.values))
        _require_plain(self.values, counts, self.kind)
        _require_distinct(self.values, self._slots if self.kind == "str" else set(self.values))

    @classmethod
    def fit(cls, array: ArrayLike | Coded, *, min_count: int = 1, max_size: int | None = None) -> Vocabulary:
        """The values of `array` (any shape), by count descending, then value ascending.

        Values seen fewer than `min_count` times are left out, then all but the first `max_size`.
        An integer array gives an "int" vocabulary, anything else a "str" one (ints inside object
        arrays become their decimal form). Missing values never enter.
        """
        if isinstance(array, Coded):
            return cls.counted(array.values, array.counts(), array.size, min_count, max_size)
        flat = np.asarray(array).reshape(-1)
        kind: Kind = "int" if flat.dtype.kind in "iub" else "str"
        values, counts = _count_ints(flat) if kind == "int" else _count_strings(flat)
        return cls.counted(values, counts, flat.size, min_count, max_size)

    @classmethod
    def counted(
        cls, values: Array, counts: Longs, total: int, min_count: int = 1, max_size: int | None = None
    ) -> Vocabulary:
        """As `fit`, from what was counted: distinct values ascending (object array of str, or int64), none
        of them missing, and how often each was seen among `total` (those never seen are left out)."""
        if min_count < 1 or (max_size is not None and max_size < 0):
            raise DataError(
                f"a vocabulary needs min_count >= 1 and max_size >= 0, got {min_count=}, {max_size=}"
            )
        order = np.argsort(-counts, kind="stable")
        kept = order[: int((counts >= min_count).sum())][:max_size]
        known = np.concatenate([[0], counts[kept]]).astype(np.int64)
        known[0] = total - known.sum()
        made = cls._trusted(tuple(values[kept].tolist()), known, "int" if values.dtype.kind == "i" else "str")
        slots = np.zeros(len(values), np.int32)
        slots[kept] = np.arange(1, made.size, dtype=np.int32)
        object.__setattr__(made, "_counted_on", (values, slots))  # these need no looking up
        return made

    @classmethod
    def union(
        cls, parts: Sequence[Vocabulary], *, min_count: int = 1, max_size: int | None = None
    ) -> Vocabulary:
        """As `fit`, on everything that `parts` were fitted on, each without leaving values out. If some are
        of kind "int" and others "str", integers are read as their decimal form."""
        kinds = {part.kind for part in parts}
        counted: Counter[Any] = Counter()
        for part in parts:
            known = map(str, part.values) if len(kinds) > 1 else part.values
            for value, count in zip(known, part.counts[1:].tolist(), strict=True):
                counted[value] += count
        order = sorted(counted)
        values = np.array([*order, None], object)[:-1] if kinds != {"int"} else np.array(order, np.int64)
        total = sum(int(part.counts.sum()) for part in parts)
        counts = np.array([counted[value] for value in order], np.int64)
        return cls.counted(values, counts, total, min_count, max_size)

    @classmethod
    def _trusted(cls, values: tuple[Any, ...], counts: Longs, kind: Kind) -> Vocabulary:
        """Without the checks of the constructor, which look at every value."""
        made = object.__new__(cls)
        counts.setflags(write=False)
        for name, value in (("values", values), ("counts", counts), ("kind", kind)):
            object.__setattr__(made, name, value)
        return made

    @classmethod
    def of(cls, values: Sequence[str] | Sequence[int]) -> Vocabulary:
        """A vocabulary of exactly these values in this order, each counted once."""
        kind: Kind = "int" if len(values) and not isinstance(values[0], str) else "str"
        plain: Any = tuple(int(v) for v in values) if kind == "int" else tuple(values)
        counts = np.ones(len(plain) + 1, dtype=np.int64)
        counts[0] = 0
        return cls(plain, counts, kind)

    def extended(self, values: Sequence[str]) -> Vocabulary:
        """With more values at the end, each counted once; what was looked up in is shared, not copied.

        Raises DataError for a value that is known, there twice or missing, and for those of another type.
        """
        more = Vocabulary.of(values) if len(values) else self
        if more is self:
            return self
        if self.kind != more.kind:
            raise DataError(f"expected values of type {self.kind}, got {more.values[0]!r}")
        known = next((value for value in more.values if self._slots[value]), None)
        if known is not None:
            raise DataError(f"value {known!r} appears more than once")
        made = self._trusted(self.values + more.values, np.append(self.counts, more.counts[1:]), self.kind)
        later = self._slots if isinstance(self._slots, _MoreSlots) else {}
        fresh = dict(zip(more.values, range(self.size, made.size), strict=True))
        before = self._slots.before if isinstance(self._slots, _MoreSlots) else self._slots
        object.__setattr__(made, "_slots", _MoreSlots(later | fresh, before))
        return made

    @property
    def size(self) -> int:
        """Number of slots: the values and the unknown."""
        return len(self.values) + 1

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, value: object) -> bool:
        return self._slots[value] > 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return (
            self.kind == other.kind
            and self.values == other.values
            and np.array_equal(self.counts, other.counts)
        )

    def __hash__(self) -> int:
        return hash(self.content_hash)

    @cached_property
    def content_hash(self) -> str:
        """sha256 (hex) of the kind and the values in order; counts play no part."""
        text = json.dumps([self.kind, self.values], separators=(",", ":"))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    @cached_property
    def _slots(self) -> _Slots | _Hashed:
        return _Hashed(self.values) if self.kind == "str" and self.size > _MANY else self._by_value

    @cached_property
    def _by_value(self) -> _Slots:
        return _Slots(zip(self.values, range(1, self.size), strict=True))

    @cached_property
    def _sorted(self) -> tuple[Longs, Ints]:
        values = np.array(self.values, dtype=np.int64)
        order = np.argsort(values, kind="stable").astype(np.int32)
        return values[order], order + np.int32(1)

    @cached_property
    def _array(self) -> Array:
        out = np.empty(self.size, dtype=object if self.kind == "str" else np.int64)
        out[0] = "" if self.kind == "str" else MISSING_INT
        out[1:] = self.values
        return out

    def lookup(self, array: ArrayLike | Coded) -> Ints:
        """Slots (int32, same shape) of the values of `array`; 0 where unknown or missing.

        A "str" vocabulary takes integers too and reads them as their decimal form. Raises DataError
        for values that can never match: floats, or strings against an "int" vocabulary.
        """
        if isinstance(array, Coded):  # every distinct text once; the last slot is that of code -1
            return np.append(self.slots_of(array), np.int32(0))[array.codes]
        values = np.asarray(array)
        if self.kind == "int":
            return self._lookup_ints(values)
        strings = _strings(values.reshape(-1))
        most = self.size > _MANY and len(strings) > self.size // _SHARE
        slots = self._by_value if most else self._slots
        found = np.fromiter(map(slots.__getitem__, strings), dtype=np.int32, count=len(strings))
        return found.reshape(values.shape)

    def slots_of(self, column: Coded) -> Ints:
        """The slots of a coded column's distinct values; int32 [m]."""
        values, slots = self.__dict__.get("_counted_on", (None, None))
        return slots if values is column.values and slots is not None else self.lookup(column.values)

    def _lookup_ints(self, values: Array) -> Ints:
        if values.dtype.kind not in "iub" and values.size:
            raise DataError(f"expected integers, got {values.dtype} such as {values.reshape(-1)[0]!r}")
        if not self.values or not values.size:
            return np.zeros(values.shape, dtype=np.int32)
        keys, slots = self._sorted
        at = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
        return np.where(keys[at] == values, slots[at], np.int32(0))

    def values_of(self, indices: ArrayLike) -> Array:
        """Values at these slots, same shape: object array of str, or int64; slot 0 gives the missing
        value ("" or the smallest int64). Raises DataError for a slot out of range."""
        slots = np.asarray(indices)
        if slots.size and (slots.min() < 0 or slots.max() >= self.size):
            raise DataError(f"slots run from 0 to {self.size - 1}, got {slots.min()} to {slots.max()}")
        found: Array = self._array[slots.astype(np.int64)]
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready form; `from_dict` reads it back to an equal vocabulary."""
        return {"kind": self.kind, "values": list(self.values), "counts": self.counts.tolist()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Vocabulary:
        """Inverse of `to_dict`. Raises DataError for missing keys or values of the wrong type."""
        try:
            return cls(tuple(data["values"]), np.array(data["counts"], dtype=np.int64), data["kind"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a stored vocabulary: {error!r}") from error


def _require_plain(values: Sequence[object], counts: Longs, kind: str) -> None:
    wanted = {"str": str, "int": int}.get(kind)
    if wanted is None:
        raise DataError(f"a vocabulary is of kind 'str' or 'int', got {kind!r}")
    if counts.shape != (len(values) + 1,):
        raise DataError(f"{len(values)} values need counts of shape ({len(values) + 1},), got {counts.shape}")
    if set(map(type, values)) - {wanted}:
        strange = next(value for value in values if type(value) is not wanted)
        raise DataError(f"expected values of type {kind}, got {strange!r}")


def _require_distinct(values: Sequence[object], distinct: Collection[object] | _Hashed) -> None:
    if len(distinct) != len(values):
        twice = next(value for value, count in Counter(values).items() if count > 1)
        raise DataError(f"value {twice!r} appears more than once")
    if "" in distinct or MISSING_INT in distinct:
        raise DataError("the missing value cannot be a vocabulary's value: slot 0 stands for it")


def _strings(flat: Array) -> list[str]:
    """Plain strings of a flat array, "" for missing. The common case costs one pass over the types."""
    if flat.dtype.kind in "iu":
        return ["" if v == MISSING_INT else str(v) for v in flat.tolist()]
    if flat.dtype.kind not in "OUT" and flat.size:
        raise DataError(f"expected strings, got {flat.dtype} such as {flat[0]!r}")
    values: list[Any] = flat.tolist()
    if set(map(type, values)) <= {str}:
        return values
    return [_string(value, row) for row, value in enumerate(values)]


def _string(value: object, row: int) -> str:
    if isinstance(value, str):
        return str(value)
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return ""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    raise DataError(f"row {row}: expected a string, got {value!r} ({type(value).__name__})")


def _count_strings(flat: Array) -> tuple[Array, Longs]:
    """Distinct texts, ascending, and their counts."""
    counted = Counter(_strings(flat))
    counted.pop("", None)
    values = sorted(counted)
    return np.array([*values, None], object)[:-1], np.array([counted[v] for v in values], np.int64)


def _count_ints(flat: Array) -> tuple[Longs, Longs]:
    """Distinct integers, ascending, and their counts; block by block, as the column may be on disk."""
    values, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for block in blocks(flat.size):
        more, seen = np.unique(flat[block].astype(np.int64), return_counts=True)
        values, at = np.unique(np.concatenate([values, more]), return_inverse=True)
        both = np.concatenate([counts, seen])
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, at, both)
    known = values != MISSING_INT
    return values[known], counts[known]
