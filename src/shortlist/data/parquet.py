"""Parquet written block by block, so that a table larger than memory needs none. NumPy only.

    block, group = row_group(columns, at=4)       # bytes to append where the file is `at` long; plain values
    ... more of them ...
    end = footer([group, ...])                    # the last bytes of the file

A file is MAGIC, the blocks, then the footer. Texts and small whole numbers go through a dictionary a block,
whose codes take as few bits as they need; numbers with a fraction are stored as they are. Nothing is
compressed beyond that: the same rows always give the same bytes. No value is missing, though a number may be
NaN. The format is that of the Apache Parquet specification, its footer in Thrift's compact protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from shortlist._typing import Array, Longs
from shortlist.errors import DataError

MAGIC = b"PAR1"
CREATED_BY = b"shortlist"

_TYPES = {"int32": 1, "int64": 2, "float32": 4, "float64": 5, "text": 6}
_PLAIN, _RLE, _DICTIONARY = 0, 3, 8
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12
_GROUP = 8  # values of a bit-packed run come in eights

Group = dict[str, Any]
"""What the footer says of a block, plain: {"rows": n, "columns": [[name, type, start, data, end], ...]}."""


class Texts(NamedTuple):
    """A column of texts: the place int [n] of each row's text among `values`."""

    codes: Longs
    values: Sequence[str]

    def expand(self) -> list[str]:
        """The texts, one a row."""
        return [self.values[code] for code in self.codes.tolist()]


Columns = Mapping[str, Array | Texts]
"""Columns of one length by name: int32, int64, float32, float64 [n] or Texts."""


def row_group(columns: Columns, at: int) -> tuple[bytes, Group]:
    """The bytes of a block of n rows that begins `at` bytes into the file, and what the footer says of it.

    Raises DataError for a column of another type.
    """
    pages: list[bytes] = []
    told: list[list[Any]] = []
    rows = 0
    for name, column in columns.items():
        kind, dictionary, data = _chunk(name, column)
        rows = len(column.codes if isinstance(column, Texts) else column)
        told.append([name, kind, at, at + len(dictionary), at + len(dictionary) + len(data)])
        at += len(dictionary) + len(data)
        pages += [dictionary, data]
    return b"".join(pages) if rows else b"", {"rows": rows, "columns": told}


def footer(groups: Sequence[Group]) -> bytes:
    """The end of a file of these blocks, at least one; those without rows only say what columns there are."""
    kinds = [(name, kind) for name, kind, *_ in groups[0]["columns"]]
    metadata = _struct(
        (1, _I32, 2),
        (2, _LIST, (_STRUCT, [_root(len(kinds)), *(_element(name, kind) for name, kind in kinds)])),
        (3, _I64, sum(group["rows"] for group in groups)),
        (4, _LIST, (_STRUCT, [_described(group) for group in groups if group["rows"]])),
        (6, _BINARY, CREATED_BY),
    )
    return metadata + len(metadata).to_bytes(4, "little") + MAGIC


# Pages


def _chunk(name: str, column: Array | Texts) -> tuple[str, bytes, bytes]:
    """A column's type, its page of distinct values (or nothing), and its page of rows."""
    if isinstance(column, Texts):
        values = b"".join(len(t).to_bytes(4, "little") + t for t in (v.encode() for v in column.values))
        return (
            "text",
            _page(values, _DICTIONARY_PAGE, len(column.values)),
            _codes(column.codes, len(column.values)),
        )
    kind = str(column.dtype)
    if column.ndim != 1 or kind not in _TYPES:
        raise DataError(f"column {name!r}: expected numbers or texts, got {kind} {column.shape}")
    if column.dtype.kind == "f":
        return kind, b"", _page(_stored(column), _DATA_PAGE, len(column), _PLAIN)
    distinct, codes = np.unique(column, return_inverse=True)
    page = _page(_stored(distinct), _DICTIONARY_PAGE, len(distinct))
    return kind, page, _codes(codes, len(distinct))


def _stored(numbers: Array) -> bytes:
    return numbers.astype(numbers.dtype.newbyteorder("<"), copy=False).tobytes()


def _codes(codes: Array, num_values: int) -> bytes:
    """A page of codes below num_values: how many bits one takes, then all as one bit-packed run."""
    bits = max(1, (num_values - 1).bit_length())
    count = -(-len(codes) // _GROUP)
    padded = np.zeros(count * _GROUP, np.uint32)
    padded[: len(codes)] = codes
    as_bits = np.unpackbits(padded.astype("<u4").view(np.uint8).reshape(-1, 4), axis=1, bitorder="little")
    packed = np.packbits(as_bits[:, :bits].reshape(-1), bitorder="little")
    body = bytes([bits]) + _varint(count << 1 | 1) + packed.tobytes()
    return _page(body, _DATA_PAGE, len(codes), _DICTIONARY)


def _page(body: bytes, kind: int, count: int, encoding: int = _PLAIN) -> bytes:
    if kind == _DATA_PAGE:
        own = (5, _STRUCT, _struct((1, _I32, count), (2, _I32, encoding), (3, _I32, _RLE), (4, _I32, _RLE)))
    else:
        own = (7, _STRUCT, _struct((1, _I32, count), (2, _I32, encoding)))
    return _struct((1, _I32, kind), (2, _I32, len(body)), (3, _I32, len(body)), own) + body


# The footer's parts


def _root(num_columns: int) -> bytes:
    return _struct((4, _BINARY, b"schema"), (5, _I32, num_columns))


def _element(name: str, kind: str) -> bytes:
    """A column of the schema: required; texts are UTF-8."""
    text = ((6, _I32, 0), (10, _STRUCT, _struct((1, _STRUCT, _struct())))) if kind == "text" else ()
    return _struct((1, _I32, _TYPES[kind]), (3, _I32, 0), (4, _BINARY, name.encode()), *text)


def _described(group: Group) -> bytes:
    columns = [_column(group["rows"], *column) for column in group["columns"]]
    size = group["columns"][-1][4] - group["columns"][0][2]
    return _struct((1, _LIST, (_STRUCT, columns)), (2, _I64, size), (3, _I64, group["rows"]))


def _column(rows: int, name: str, kind: str, start: int, data: int, end: int) -> bytes:
    coded = data > start
    encodings = [_PLAIN, _DICTIONARY] if coded else [_PLAIN]
    metadata = _struct(
        (1, _I32, _TYPES[kind]),
        (2, _LIST, (_I32, [_zigzag(encoding) for encoding in encodings])),
        (3, _LIST, (_BINARY, [_binary(name.encode())])),
        (4, _I32, 0),
        (5, _I64, rows),
        (6, _I64, end - start),
        (7, _I64, end - start),
        (9, _I64, data),
        *(((11, _I64, start),) if coded else ()),
    )
    return _struct((2, _I64, start), (3, _STRUCT, metadata))


# Thrift's compact protocol


def _struct(*fields: tuple[int, int, Any]) -> bytes:
    """Fields (number, type, value), ascending; a struct's value is its bytes, a list's (type, encoded)."""
    out, before = bytearray(), 0
    for number, kind, value in fields:
        out.append((number - before) << 4 | kind)
        before = number
        out += _value(kind, value)
    return bytes(out) + b"\0"


def _value(kind: int, value: Any) -> bytes:
    if kind in (_I32, _I64):
        return _zigzag(value)
    if kind == _BINARY:
        return _binary(value)
    if kind == _LIST:
        of, encoded = value
        short = len(encoded) < 15
        head = bytes([(len(encoded) if short else 15) << 4 | of])
        return head + (b"" if short else _varint(len(encoded))) + b"".join(encoded)
    struct: bytes = value
    return struct


def _binary(value: bytes) -> bytes:
    return _varint(len(value)) + value


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
