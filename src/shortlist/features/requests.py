"""Questions in a caller's own words to canonical columns: ids, dicts, lists of them, tables.

NumPy only: this is what a loaded bundle reads requests with.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from math import isfinite
from typing import Any

import numpy as np

from shortlist._typing import MISSING_INT, Array, Bools, Columns, Longs
from shortlist.errors import RequestError, did_you_mean
from shortlist.features.columns import ColumnType

Request = Any
"""One id; a dict (one row); a list of ids or dicts; a dict of lists; a polars or pandas DataFrame."""

NOBODY = "\0"
"""An id that no catalogue has: a history of it alone is told, and empty."""
_BOUND = 2**63


def read_request(
    request: Request,
    types: Mapping[str, ColumnType],
    *,
    sizes: Mapping[str, int] | None = None,
    id_column: str = "user_id",
    whole: Collection[str] = (),
) -> Columns:
    """The columns a request gives, n rows each, in canonical form; columns left out are not in the result.

    Args:
        request: bare ids are values of `id_column`; a dict of lists is a table, any other dict one row.
        types: the columns that may be given. Integers become text where text is expected (42 is "42");
            None, NaN and "" are missing; dates become seconds since 1970 (UTC where they name no zone).
        sizes: numbers in each "vector" column.
        whole: columns of lists in which nothing may be missing; from others missing texts are left out.
            Texts that are an empty list are there, as [NOBODY]; None is missing.

    Raises RequestError naming row, column, index in a list, value and what was expected; for an unknown
    column; for no rows.
    """
    table = _table(request, types, id_column)
    for name in table:
        if name not in types:
            raise RequestError(
                f"unknown column {name!r} in the request", hint=did_you_mean(name, types), column=name
            )
    lengths = {name: len(values) for name, values in table.items()}
    if len(set(lengths.values())) > 1:
        raise RequestError(f"the columns of the request differ in length: {lengths}")
    if not lengths or not next(iter(lengths.values())):
        raise RequestError("the request has no rows", hint=f"give at least one {id_column}")
    return {
        name: _column(name, values, types[name], (sizes or {}).get(name), whole=name in whole)
        for name, values in table.items()
    }


def missing_column(kind: ColumnType, num_rows: int, size: int = 1) -> Array:
    """A column of missing values; `size` is the width of a vector."""
    if kind == "string":
        return np.full(num_rows, "", object)
    if kind in _ONE_OF:
        return np.full((num_rows, 1), *_ONE_OF[kind][1:])
    if kind == "vector":
        return np.full((num_rows, size), np.nan, np.float32)
    return np.full(num_rows, MISSING_INT, np.int64) if kind == "int" else np.full(num_rows, np.nan)


def is_missing(column: Array) -> Bools:
    """Rows whose value is missing: bool [n]."""
    wide = column[:, None] if column.ndim == 1 else column
    if column.dtype.kind == "O":
        return np.asarray(np.all(wide == "", axis=1))
    return np.asarray(np.any(wide == MISSING_INT if column.dtype.kind == "i" else np.isnan(wide), axis=1))


def take_rows(column: Array, rows: Longs) -> Array:
    """column[rows], missing where a row is -1."""
    taken: Array = np.array(column[np.maximum(rows, 0)]) if len(column) else _nothing_like(column, len(rows))
    taken[rows < 0] = _nothing_like(column, 1)[0]
    return taken


def blanked(column: Array, rows: Bools) -> Array:
    """A copy of a column that is missing where true."""
    out: Array = np.array(column)
    out[rows] = _nothing_like(column, 1)[0]
    return out


def fill_missing(column: Array, other: Array) -> Array:
    """`column` with its missing rows taken from `other`; multi-valued columns are padded to one width."""
    if column.dtype.kind == "O" and column.ndim == 2:
        width = max(column.shape[1], other.shape[1])
        column, other = _widened(column, width), _widened(other, width)
    gone = is_missing(column)
    return np.where(gone[:, None] if column.ndim == 2 else gone, other, column)


def _nothing_like(column: Array, num_rows: int) -> Array:
    missing: Any = {"O": "", "i": MISSING_INT}.get(column.dtype.kind, np.nan)
    return np.full((num_rows, *column.shape[1:]), missing, column.dtype)


def _widened(column: Array, width: int) -> Array:
    out = np.full((len(column), width), "", object)
    out[:, : column.shape[1]] = column
    return out


# What was given, as a table


def _table(request: Request, types: Mapping[str, ColumnType], id_column: str) -> dict[str, Sequence[Any]]:
    if isinstance(request, str | int | np.integer):
        return {id_column: [request]}
    if isinstance(request, Mapping):
        columns = _holds_columns(request, types)
        return {
            str(name): _listed(str(name), value) if columns else [value] for name, value in request.items()
        }
    if hasattr(request, "columns") and hasattr(request, "to_dict"):
        return {str(name): request[name].to_list() for name in request.columns}
    if isinstance(request, Iterable):
        return _rows(list(request), id_column)
    raise RequestError(
        f"cannot read a request of type {type(request).__name__}",
        hint="give ids, a dict, a list of dicts, a dict of lists or a DataFrame",
    )


def _rows(rows: list[Any], id_column: str) -> dict[str, Sequence[Any]]:
    dicts = [isinstance(row, Mapping) for row in rows]
    if not any(dicts):
        return {id_column: rows}
    if not all(dicts):
        row = dicts.index(not dicts[0])
        raise RequestError(
            f"row {row} of the request is {rows[row]!r}, but row 0 is {rows[0]!r}: mixed forms"
        )
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _holds_columns(request: Mapping[Any, Any], types: Mapping[str, ColumnType]) -> bool:
    """Whether the values of a dict are columns, not those of one row, some of which may be lists too: what
    has one value a row tells, and where nothing has, lists of lists."""
    single = [value for name, value in request.items() if types.get(name) in _DTYPES]
    if single:
        return any(map(_is_list, single))
    return any(_is_list(value) and any(map(_is_list, value)) for value in request.values())


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def _listed(name: str, value: Any) -> Sequence[Any]:
    if isinstance(value, np.ndarray):
        plain: list[Any] = (value.astype("datetime64[s]") if value.dtype.kind == "M" else value).tolist()
        return plain
    if isinstance(value, list | tuple):
        return value
    raise RequestError(
        f"column {name!r} of the request is {value!r}, but other columns are lists",
        hint="give every column as a list of the same length",
    )


# A column's values, in canonical form


def _column(name: str, values: Sequence[Any], kind: ColumnType, size: int | None, *, whole: bool) -> Array:
    if kind == "vector":
        return _vectors(name, values, size)
    if kind in _ONE_OF:
        return _lists(name, values, kind, whole=whole)
    read = _READ[kind]
    out: Array = np.empty(len(values), _DTYPES[kind])
    for row, value in enumerate(values):
        try:
            out[row] = read(value)
        except (TypeError, ValueError, OverflowError):
            raise _wrong(name, row, value, kind) from None
    return out


def _wrong(name: str, row: int, value: Any, kind: ColumnType) -> RequestError:
    return RequestError(
        f"row {row}, column {name!r}: expected {_EXPECTED[kind]}, got {value!r} ({type(value).__name__})",
        column=name,
    )


def _wrong_one(name: str, row: int, index: int, value: Any, kind: ColumnType, hint: str = "") -> RequestError:
    return RequestError(
        f"row {row}, column {name!r}, index {index}: expected {_EXPECTED[_OF_ONE[kind]]},"
        f" got {value!r} ({type(value).__name__})",
        hint=hint,
        column=name,
        index=index,
    )


def _is_nothing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType") or _is_nan(value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _text(value: Any) -> str:
    if isinstance(value, str):
        value.encode()  # a lone surrogate is no text
        return str(value)
    if _is_nothing(value):
        return ""
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(int(value))
    raise TypeError


def _whole(value: Any) -> int:
    if _is_nothing(value):
        return MISSING_INT
    if isinstance(value, str):  # ISO 8601, as on the command line and in tables; ValueError for other texts
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        zoned = value if value.tzinfo else value.replace(tzinfo=UTC)
        return int(zoned.timestamp() // 1)
    if isinstance(value, date):
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp())
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[s]").astype(np.int64))
    whole = isinstance(value, int | np.integer | np.bool_) or (
        isinstance(value, float | np.floating) and float(value).is_integer()
    )
    if whole and -_BOUND <= int(value) < _BOUND:
        return int(value)
    raise TypeError


def _number(value: Any) -> float:
    if _is_nothing(value):
        return float("nan")
    if isinstance(value, int | float | np.number | np.bool_) and isfinite(value):
        return float(value)
    raise TypeError


def _lists(name: str, values: Sequence[Any], kind: ColumnType, *, whole: bool) -> Array:
    read, missing, dtype = _ONE_OF[kind]
    rows = []
    for row, value in enumerate(values):
        if not (_is_nothing(value) or isinstance(value, list | tuple | set | frozenset | np.ndarray)):
            raise _wrong(name, row, value, kind)
        if whole and kind == "strings" and not _is_nothing(value) and not len(value):
            value = [NOBODY]
        found = []
        for index, one in enumerate([] if _is_nothing(value) else value):
            if whole and kind == "floats" and one is None:
                found.append(UNRATED)
                continue
            if whole and (_is_nothing(one) or (isinstance(one, str) and not one)):
                raise _wrong_one(name, row, index, one, kind, "leave out what is not known")
            try:
                found.append(read(one))
            except (TypeError, ValueError, OverflowError):
                raise _wrong_one(name, row, index, one, kind) from None
        rows.append([text for text in found if text] if kind == "strings" else found)
    out: Array = np.full((len(rows), max(1, *map(len, rows))), missing, dtype)
    for row, found in enumerate(rows):
        out[row, : len(found)] = found
    return out


def _vectors(name: str, values: Sequence[Any], size: int | None) -> Array:
    given = {row: value for row, value in enumerate(values) if not _is_nothing(value)}
    arrays = {}
    for row, value in given.items():
        try:
            arrays[row] = np.asarray(value, np.float32)
        except (TypeError, ValueError):
            raise _wrong(name, row, value, "vector") from None
    size = size or next((len(a) for a in arrays.values() if a.ndim == 1), 1)
    out = missing_column("vector", len(values), size)
    for row, array in arrays.items():
        if array.shape != (size,):
            raise RequestError(
                f"row {row}, column {name!r}: expected a vector of {size} numbers, got shape {array.shape}",
                column=name,
            )
        out[row] = array
    return out


UNRATED = float("inf")
"""None in a list that is told whole, as opposed to what pads it (no request may hold an infinite number)."""
_READ: dict[str, Callable[[Any], Any]] = {"string": _text, "int": _whole, "float": _number}
_ONE_OF: dict[str, tuple[Callable[[Any], Any], Any, type]] = {
    "strings": (_text, "", object),
    "ints": (_whole, MISSING_INT, np.int64),
    "floats": (_number, np.nan, np.float64),
}
"""How each value of a list is read, what pads it, and its type."""
_OF_ONE: dict[ColumnType, ColumnType] = {"strings": "string", "ints": "int", "floats": "float"}
_DTYPES: dict[str, type] = {"string": object, "int": np.int64, "float": np.float64}
_EXPECTED: dict[ColumnType, str] = {
    "string": "text or a whole number",
    "int": "a whole number (or, for a time, ISO 8601 text)",
    "float": "a finite number",
    "strings": "a list of texts",
    "ints": "a list of whole numbers (or, for times, ISO 8601 texts)",
    "floats": "a list of finite numbers",
    "vector": "a list of numbers",
}
