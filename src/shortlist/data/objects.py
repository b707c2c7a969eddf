"""Table objects -> polars DataFrame: polars, pandas, mappings, rows, and whatever speaks Arrow's stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from shortlist.errors import DataError

_INTERVALS = "leave out columns of intervals, or make numbers of them first"


def from_object(source: Any) -> pl.DataFrame:
    """The table in an object: polars (eager or lazy), pandas, anything with the Arrow PyCapsule stream or
    array interface (pyarrow tables and readers, DuckDB relations, ...), a mapping of columns, or a sequence
    of row mappings. Raises DataError for anything else and for what cannot be read as a table."""
    if isinstance(source, pl.DataFrame):
        return source
    kind = type(source).__name__
    try:
        return _read(source)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError) as error:
        hint = _INTERVALS if "interval" in str(error) else ""
        raise DataError(f"cannot read the {kind} as a table: {error}", hint=hint) from error


def _read(source: Any) -> pl.DataFrame:
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if type(source).__module__.split(".")[0] == "pandas" and hasattr(source, "columns"):
        return _from_pandas(source)
    if isinstance(source, Mapping):
        return pl.DataFrame({str(name): _series(values) for name, values in source.items()})
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        return pl.DataFrame(source)
    if isinstance(source, Sequence) and not isinstance(source, str | bytes):
        # Every row decides the types, so that a late string is found rather than dropped.
        return pl.DataFrame(source, infer_schema_length=None)
    raise DataError(
        f"cannot read a table from {type(source).__name__}",
        hint="give a path, a polars, pandas or Arrow table, a DuckDB relation, or a dict of columns",
    )


def _series(values: Any) -> pl.Series:
    if isinstance(values, list | tuple) and {type(v) for v in values} <= {int, float, type(None)}:
        # Whole numbers beside a NaN are floats, as everywhere else; polars would refuse the mixture.
        floats = any(isinstance(v, float) for v in values)
        return pl.Series(values, dtype=pl.Float64 if floats else None, strict=not floats)
    return pl.Series(values)


def _from_pandas(table: Any) -> pl.DataFrame:
    # By hand, because pandas and polars ask for pyarrow to do it; the index is not data.
    columns = {}
    for name in table.columns:
        values = table[name].to_numpy()
        if values.dtype.kind in "iufbM":
            columns[str(name)] = pl.Series(values)
        else:
            plain = [None if _is_missing(v) else v for v in values.tolist()]
            columns[str(name)] = pl.Series(plain, strict=True)
    return pl.DataFrame(columns)


def _is_missing(value: object) -> bool:
    missing_float = isinstance(value, float | np.floating) and np.isnan(value)
    return value is None or bool(missing_float) or type(value).__name__ in ("NAType", "NaTType")
