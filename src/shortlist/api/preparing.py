"""From a split and a model's spec to everything training reads: fitted encoder, examples, catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from shortlist._typing import Columns, Floats, Ints
from shortlist.data.columns import to_columns
from shortlist.data.splits import Split
from shortlist.data.tables import join_users
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError, did_you_mean
from shortlist.features.batches import Catalogue, Examples, log_sampling_probability
from shortlist.features.encoder import Encoder
from shortlist.specs.models import Model, Tower
from shortlist.state.seen import Seen


@dataclass(frozen=True)
class Prepared:
    """Training rows as a trainer wants them, and what they were made from.

    users: the training users in order of first appearance. queries: raw query columns, one row an
    interaction. items: raw columns of the whole catalogue. positions: int32, each training row's item.
    """

    encoder: Encoder
    examples: Examples
    catalogue: Catalogue
    users: Vocabulary
    seen: Seen
    queries: Columns
    items: Columns
    positions: Ints


def prepare(model: Model, split: Split) -> Prepared:
    """Fit the encoder on the training rows and encode them. Nothing is learned from validation or test rows.

    Raises DataError for an empty train part, a column that a feature or a label needs and is not there,
    an item that is not in the catalogue, or a catalogue too small to retrieve from.
    """
    if split.train.height == 0:
        raise DataError("the split has no training rows")
    if model.retrieval is not None and split.items.height < 2:
        raise DataError(
            f"retrieval needs at least 2 items, the catalogue has {split.items.height}",
            hint="train a Ranker instead, or add the items people did not choose",
        )
    items = to_columns(split.items, _needed(model.candidate, split.items, "item_id", "candidate"))
    queries = query_columns(model, split.train, split.users)
    rows = positions_of(split.train, split.items)
    encoder = Encoder.fit(model, queries, {name: column[np.unique(rows)] for name, column in items.items()})
    names = split.train["user_id"].unique(maintain_order=True).to_list()
    users = Vocabulary.of(names)
    user_rows = user_indices(split.train, users)
    seen = Seen.from_pairs(user_rows, rows, len(names))
    weights = _weights(split.train)
    catalogue = Catalogue(
        items=encoder.candidate.encode(items),
        log_q=log_sampling_probability(rows, split.items.height, weights),
        known_indptr=seen.indptr.astype(np.int32),
        known_items=seen.indices if len(seen.indices) else np.zeros(1, np.int32),
    )
    labels = {head.label: label(split.train, head.label) for head in model.heads}
    examples = Examples(encoder.query.encode(queries), rows, labels, weights, user_rows)
    return Prepared(encoder, examples, catalogue, users, seen, queries, items, rows)


def query_columns(model: Model, rows: pl.DataFrame, users: pl.DataFrame) -> Columns:
    """The raw columns the query tower reads, of interactions joined with their users."""
    missing = [f.column for f in model.query.features if f.column not in rows.columns]
    table = join_users(rows, users) if missing else rows
    return to_columns(table, _needed(model.query, table, "user_id", "query"))


def positions_of(rows: pl.DataFrame, items: pl.DataFrame) -> Ints:
    """Each interaction's item as a catalogue position; int32 [n]."""
    lookup = Vocabulary.of(items["item_id"].to_list())
    positions = lookup.lookup(to_columns(rows, ["item_id"])["item_id"]) - 1
    if len(positions) and positions.min() < 0:
        row = int(np.argmin(positions))
        raise DataError(
            f"row {row}: item {rows['item_id'][row]!r} is not in the items table",
            hint="add it to the items table",
        )
    return positions.astype(np.int32)


def user_indices(rows: pl.DataFrame, users: Vocabulary) -> Ints:
    """Each interaction's user among the training users, -1 where unknown; int32 [n]."""
    return (users.lookup(to_columns(rows, ["user_id"])["user_id"]) - 1).astype(np.int32)


def label(rows: pl.DataFrame, name: str) -> Floats:
    """A label column as float32 [n]; DataError where it is absent or not a number."""
    if name not in rows.columns:
        raise DataError(
            f"the label column {name!r} is not in the interactions", hint=did_you_mean(name, rows.columns)
        )
    column = rows[name]
    if not column.dtype.is_numeric() and column.dtype != pl.Boolean:
        raise DataError(f"the label column {name!r} must hold numbers, it holds {column.dtype}")
    values = column.cast(pl.Float64).fill_null(float("nan")).to_numpy()
    with np.errstate(over="ignore"):
        narrow: Floats = values.astype(np.float32)
    if not np.isfinite(narrow).all():
        row = int(np.argmin(np.isfinite(narrow)))
        raise DataError(f"the label {name!r} of row {row} is {values[row]}, expected a finite 32-bit number")
    return narrow


def _weights(rows: pl.DataFrame) -> Floats:
    if "weight" not in rows.columns:
        return np.ones(rows.height, np.float32)
    weights = label(rows, "weight")
    if weights.min() < 0 or weights.sum() <= 0:
        raise DataError(f"weights must not be negative nor all zero; the smallest is {weights.min()}")
    return weights


def _needed(tower: Tower, table: pl.DataFrame, key: str, side: str) -> list[str]:
    """The key column and the tower's, checked to be there."""
    for feature in tower.features:
        if feature.column not in table.columns:
            raise DataError(
                f"the {side} tower's feature {type(feature).__name__}({feature.column!r}) names a column"
                f" that is not in the {'items' if side == 'candidate' else 'interactions or users'} table",
                hint=did_you_mean(feature.column, table.columns),
            )
    return list(dict.fromkeys([key, *(f.column for f in tower.features)]))
