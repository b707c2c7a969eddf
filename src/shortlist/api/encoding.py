"""`encode`: interactions too large for memory, from Parquet to encoded rows on disk.

Two passes. The first reads the source once, checks it, and lays every needed column down as numbers: a code
a row for texts. The second fits the encoder on those and encodes them. Both go chunk by chunk: memory holds
a few chunks, the tables of users and items, and the distinct texts.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from shortlist._typing import Ints
from shortlist.api.preparing import (
    Prepared,
    catalogue_of,
    item_columns,
    last_times,
    sample,
    take,
)
from shortlist.api.staging import Roles, Staged, stage
from shortlist.api.stored import Stored, write_tables
from shortlist.data import tables
from shortlist.data.coded import BLOCK, Coded, blocks
from shortlist.data.dataset import covering
from shortlist.data.reading import Source
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError, SpecError
from shortlist.features.batches import Examples, item_counts
from shortlist.features.encoder import Encoder
from shortlist.features.history import DERIVED
from shortlist.features.store import StoreWriter, writing
from shortlist.specs.features import OfPast
from shortlist.specs.models import Model
from shortlist.state.seen import Seen

SORTED_AT_ONCE = 1 << 23
"""Pairs of users and items sorted at a time."""


def encode(
    model: Model,
    source: str | Path | pl.LazyFrame,
    folder: str | Path,
    *,
    items: Source | None = None,
    users: Source | None = None,
    validation: Source | None = None,
    user: str = "user_id",
    item: str = "item_id",
    rating: str | None = None,
    timestamp: str | None = None,
    weight: str | None = None,
    chunk_rows: int = BLOCK // 2,
) -> Stored:
    """Encode training rows into a new folder, for `fit(model, stored)`.

    Args:
        model: whose features and labels the rows are encoded for.
        source: a Parquet file, a folder of them (in name order), or a polars LazyFrame; every row is a
            training row. Names and checks of its columns are those of `datasets.from_tables`.
        items, users: their tables, in memory; items and users only the rows know are added to them.
        validation: rows held out, in memory, for a figure an epoch.
        chunk_rows: rows read at a time.

    The result is what `fit` would make of the same rows in memory, bit for bit; only quantile `Bucket`
    boundaries of more than 4 million rows come from evenly spaced rows, there as here. The folder appears
    when it is complete. Raises DataError as `from_tables` and `fit` do, and where the folder exists;
    SpecError for models that look at other rows (histories, bags, aggregates, `seen`), which are trained from
    memory.
    """
    _refuse_pasts(model)
    roles = Roles(user, item, rating, timestamp, weight)
    people = None if users is None else tables.users(users, user=user)
    things = None if items is None else tables.items(items, item=item)
    held = None if validation is None else roles.checked(validation)
    with writing(Path(folder)) as writer:
        staging = writer.folder / "staging"
        staging.mkdir()
        staged = stage(model, source, roles, people, staging, writer, chunk_rows)
        people = _covering(people, "user_id", staged.users, held)
        things = _covering(things, "item_id", staged.items, held)
        prepared = _prepare(model, staged, things, writer)
        if held is None:
            held = pl.DataFrame(schema={"user_id": pl.String, "item_id": pl.String})
        write_tables(writer, prepared, people, things, held)
        shutil.rmtree(staging)
        writer.finish(prepared.encoder.content_hash)
    return Stored.open(folder)


def _refuse_pasts(model: Model) -> None:
    """What looks at other rows needs the log in memory."""
    for side in ("query", "candidate"):
        for feature in model.features(side):
            if isinstance(feature, OfPast) or feature.column in DERIVED:
                _refuse(f"the feature {type(feature).__name__}({feature.column!r})")
    for head in model.heads:
        if head.aggregates:
            _refuse(f"the aggregate {head.aggregates[0].name!r} of {head.name!r}")
    if model.retrieval is not None and model.retrieval.seen:
        _refuse(f"Retrieval(seen={model.retrieval.seen!r})")


def _refuse(what: str) -> None:
    raise SpecError(
        f"{what} looks at other rows, which rows encoded on disk cannot",
        hint="train from memory: fit(model, split)",
    )


def _covering(table: pl.DataFrame | None, key: str, rows: Coded, held: pl.DataFrame | None) -> pl.DataFrame:
    table = covering(table, pl.DataFrame({key: rows.in_order()}, schema={key: pl.String}), key)
    return table if held is None else covering(table, held, key)


def _prepare(model: Model, staged: Staged, things: pl.DataFrame, writer: StoreWriter) -> Prepared:
    """The second pass; `prepare` on disk."""
    if model.retrieval is not None and things.height < 2:
        raise DataError(
            f"retrieval needs at least 2 items, the catalogue has {things.height}",
            hint="train a Ranker instead, or add the items people did not choose",
        )
    users = Vocabulary.of(staged.users.in_order().tolist())
    _write_places(writer, "users", users, staged.users)
    _write_places(writer, "candidates", Vocabulary.of(things["item_id"].to_list()), staged.items)
    user_rows, rows = writer.mapped("users"), writer.mapped("candidates")
    items = item_columns(model, things)
    chosen = np.flatnonzero(item_counts(rows, things.height))
    encoder = Encoder.fit(model, staged.columns, take(items, chosen))
    for key, encoded in encoder.query.encode_blocks(staged.columns):
        writer.append(f"query/{key}", encoded)
    seen = _seen(user_rows, rows, len(users))
    weights = writer.mapped("weights")
    catalogue = catalogue_of(encoder, items, rows, weights, seen)
    for key, array in catalogue.items.items():
        writer.append(f"items/{key}", array)
    for name in ("log_q", "known_indptr", "known_items"):
        writer.append(name, getattr(catalogue, name))
    times = None if staged.times is None else last_times(user_rows, staged.times, len(users))
    if times is not None:
        writer.append("times", times)
    # the encoded rows are on disk: what is asked for below are the encoder, the users and samples
    nothing = Examples({}, rows, {}, weights, user_rows)
    return Prepared(encoder, nothing, catalogue, users, seen, times, sample(staged.columns), sample(items))


def _write_places(writer: StoreWriter, name: str, vocabulary: Vocabulary, column: Coded) -> None:
    """Each row's place in the vocabulary, from 0; int32 [n]."""
    places = vocabulary.lookup(column.values) - np.int32(1)
    for block in blocks(len(column)):
        writer.append(name, places[column.codes[block]])


def _seen(users: Ints, items: Ints, num_users: int) -> Seen:
    """`Seen.from_pairs` of rows on disk: a range of users at a time, each range one pass over the rows."""
    rows_of = np.zeros(num_users, np.int64)
    for block in blocks(len(users)):
        rows_of += np.bincount(users[block], minlength=num_users)
    parts = [_seen_of_range(users, items, *ends) for ends in _ranges(rows_of)]
    starts = np.cumsum([0, *(len(part.indices) for part in parts)])
    indptr = [part.indptr[:-1] + start for part, start in zip(parts, starts[:-1], strict=True)]
    return Seen(np.concatenate([*indptr, starts[-1:]]), np.concatenate([part.indices for part in parts]))


def _ranges(rows_of: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of users with about SORTED_AT_ONCE rows each (a single user may have more)."""
    ends = np.cumsum(rows_of)
    first, done = 0, 0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, done + SORTED_AT_ONCE, side="right")))
        yield first, last
        first, done = last, int(ends[last - 1])


def _seen_of_range(users: Ints, items: Ints, first: int, last: int) -> Seen:
    chosen = [np.zeros((2, 0), np.int32)]
    for block in blocks(len(users)):
        user = users[block]
        inside = (user >= first) & (user < last)
        chosen.append(np.stack([user[inside] - np.int32(first), items[block][inside]]))
    pairs = np.concatenate(chosen, axis=1)
    return Seen.from_pairs(pairs[0], pairs[1], last - first)
