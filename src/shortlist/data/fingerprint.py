"""A fingerprint of tables: the same for the same rows, whatever file they came from."""

from __future__ import annotations

from hashlib import sha256

import polars as pl

from shortlist.data.dataset import Dataset

_ROWS = 1 << 16  # rows written at once


def fingerprint(data: Dataset) -> str:
    """sha256 (hex) over the column names, types and rows of interactions, users and items, in order."""
    digest = sha256()
    for table in (data.interactions, data.users, data.items):
        digest.update(repr([(name, str(kind)) for name, kind in table.schema.items()]).encode())
        for rows in table.with_columns(_flat(table)).iter_slices(_ROWS):
            digest.update(rows.write_csv(include_header=False, null_value="\0").encode())
    return digest.hexdigest()


def _flat(table: pl.DataFrame) -> list[pl.Expr]:
    """Columns that CSV cannot hold, as text."""
    flat = []
    for name, kind in table.schema.items():
        if isinstance(kind, pl.Array):
            flat.append(_joined(pl.col(name).arr.to_list(), name))
        elif isinstance(kind, pl.List):
            flat.append(_joined(pl.col(name), name))
    return flat


def _joined(column: pl.Expr, name: str) -> pl.Expr:
    texts = column.list.eval(pl.element().cast(pl.String).fill_null("\0"))
    return texts.list.join("\x1f").alias(name)
