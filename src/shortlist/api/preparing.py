"""From a split and a model's spec to everything training reads: fitted encoder, examples, catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from shortlist._typing import Columns, Floats, Ints, Longs
from shortlist.api.pasts import (
    events_of,
    fitted_aggregates,
    numbers_read,
    reads_past,
    spread_bags,
    with_pasts,
    with_raters,
)
from shortlist.data.coded import Coded, Column, Table, blocks, expanded
from shortlist.data.coding import coded
from shortlist.data.columns import to_coded_columns
from shortlist.data.splits import Split
from shortlist.data.tables import join_users
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError, did_you_mean
from shortlist.features.batches import (
    KNOWN,
    LARGEST,
    Catalogue,
    Examples,
    item_counts,
    log_sampling_probability,
)
from shortlist.features.encoder import Encoder
from shortlist.features.growth import grown
from shortlist.features.history import DERIVED, Events, Total
from shortlist.features.log import Standing
from shortlist.pipeline.histories import RESERVED
from shortlist.specs.features import FeatureSpec, OfPast
from shortlist.specs.models import Model
from shortlist.specs.tasks import Rating
from shortlist.state.seen import Seen

if TYPE_CHECKING:
    from shortlist.features.aggregates import Aggregates, Ready

LATEST = np.iinfo(np.int64).max // 2
"""A time after all events."""
NEW_USERS = 0x6E6577
"""Of the stream of random numbers that draws the rows of new users."""
SAMPLE = 1024
"""Raw rows kept of a model's training, for an exported graph to be tried on."""


@dataclass(frozen=True)
class Prepared:
    """Training rows as a trainer wants them, and what a recommender keeps of them.

    users: the training users in order of first appearance. times: int64, each user's last time, where rows
    have times. queries, items: raw columns of the first rows and items. events: what users did, in order,
    where the model reads it; raters: the same of items. ready: head -> its aggregates over the events.
    """

    encoder: Encoder
    examples: Examples
    catalogue: Catalogue
    users: Vocabulary
    seen: Seen
    times: Longs | None = field(repr=False)
    queries: Columns = field(repr=False)
    items: Columns = field(repr=False)
    events: Events | None = field(default=None, repr=False)
    raters: Events | None = field(default=None, repr=False)
    ready: dict[str, Ready] = field(default_factory=dict, repr=False)

    @property
    def aggregates(self) -> dict[str, Aggregates]:
        """Head -> its fitted aggregates."""
        return {name: over.aggregates for name, over in self.ready.items()}

    @property
    def aggregate_widths(self) -> dict[str, int]:
        """How many numbers each head that has aggregates is given of a pair."""
        return {name: given.shape[1] for name, given in self.examples.aggregates.items()}

    @property
    def counts(self) -> Longs:
        """Training rows of each item; int64 [N]."""
        return item_counts(self.examples.candidates, self.catalogue.num_items)


@dataclass(frozen=True)
class Kept:
    """What stays as an earlier run fitted it: the encoder, whose vocabularies grow, the aggregates of each
    head that has any, and the mean rating of its log."""

    encoder: Encoder
    aggregates: dict[str, Aggregates] = field(default_factory=dict)
    mean: float = 0.0


def prepare(
    model: Model, split: Split, *, new_users: float = 0.0, seed: int = 42, kept: Kept | None = None
) -> Prepared:
    """Fit the encoder on the training rows and encode them. Nothing is learned from validation or test rows.
    new_users: of this share of the rows, drawn by the seed, the user's id and past are not known. kept: of an
    earlier run whose rows these begin with.

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
    items = item_columns(model, split.items)
    queries = query_columns(model, split.train, split.users)
    rows = positions_of(split.train, split.items)
    chosen = np.flatnonzero(item_counts(rows, split.items.height))
    ids = _ids(split.train, "user_id", queries)
    users = Vocabulary.of(ids.in_order().tolist())
    user_rows = users.lookup(ids) - np.int32(1)
    weights = weights_of(split.train)
    labels = labels_of(model, split.train)
    times = split.train["timestamp"].to_numpy() if "timestamp" in split.train.columns else None
    events, at = None, None
    if reads_past(model):
        events, at = events_of(model, split, user_rows, rows, times, len(users))
        events = events if kept is None else replace(events, mean=kept.mean)
        queries |= events.columns(dict.fromkeys(numbers_read(model), 0), at)
    candidates = take(items, chosen) | {"user_id": ids}
    encoder = (
        Encoder.fit(model, queries, candidates) if kept is None else grown(kept.encoder, queries, candidates)
    )
    new = np.random.default_rng([seed, NEW_USERS]).random(len(rows)) < new_users
    if "user_id" in queries:
        queries["user_id"] = Coded(np.where(new, np.int32(-1), ids.codes), ids.values)
    met = None if at is None else at.of_nobody(new)
    if events is not None and met is not None:
        queries |= events.columns(dict.fromkeys(numbers_read(model), 0), met)
    seen = Seen.from_pairs(user_rows, rows, len(users))
    catalogue = catalogue_of(encoder, items, rows, weights, seen)
    examples = Examples({}, rows, labels, weights, user_rows)
    ready: dict[str, Ready] = {}
    raters: Events | None = None
    if events is not None and at is not None and met is not None:
        catalogue, examples = with_pasts(model, encoder, events, met, catalogue, examples)
        names = np.array([*users.values, None], object)[:-1]
        catalogue, examples, raters = with_raters(encoder, events, at, names, catalogue, examples)
        ready = fitted_aggregates(model, events, users, split, None if kept is None else kept.aggregates)
        given = {name: over.values(at, rows) for name, over in ready.items()}
        if new.any():
            given = {n: ready[n].without_users_past(v, at, rows, new) for n, v in given.items()}
        examples = replace(examples, aggregates=given)
    side = encoder.query.without(Total) if spread_bags(catalogue) else encoder.query
    if events is not None and met is not None:
        queries |= events.columns(side.lengths, met)
    return Prepared(
        encoder,
        replace(examples, query=side.encode(queries)),
        catalogue,
        users,
        seen,
        None if times is None else last_times(user_rows, times, len(users)),
        sample(queries if events is None else queries | _sampled(events, encoder, at)),
        sample(items | now_columns(encoder, raters, np.arange(min(SAMPLE, split.items.height)))),
        events,
        raters,
        ready,
    )


def _sampled(events: Events, encoder: Encoder, at: Standing | None) -> dict[str, Column]:
    """The lists the encoder reads, of the first rows."""
    assert at is not None
    return events.columns(encoder.query.lengths, at.rows(slice(0, SAMPLE)))


def now_columns(encoder: Encoder, raters: Events | None, positions: Longs) -> dict[str, Column]:
    """The lists of raters the candidate side reads, of items as of after the last event."""
    if raters is None:
        return {}
    return raters.columns(encoder.candidate.lengths, Standing.of(positions, np.full(len(positions), LATEST)))


def catalogue_of(encoder: Encoder, items: Table, rows: Ints, weights: Floats, seen: Seen) -> Catalogue:
    """All items, encoded, with what the training rows [n] say of them.

    Raises DataError for more pairs of users and items than int32 counts.
    """
    if len(seen) > LARGEST:
        raise DataError(
            f"{len(seen):,} pairs of users and items, at most {LARGEST:,} can be looked up in training",
            hint="train on fewer rows",
        )
    num_items = len(next(iter(items.values())))
    return Catalogue(
        items=encoder.candidate.without(Total).encode(items),
        log_q=log_sampling_probability(rows, num_items, weights),
        known_indptr=seen.indptr.astype(np.int32),
        known_items=seen.indices if len(seen.indices) else np.zeros(1, np.int32),
    )


def last_times(users: Ints, times: Longs, num_users: int) -> Longs:
    """The latest of the times [n] of each user; int64 [num_users]. Every user has rows."""
    latest = np.full(num_users, np.iinfo(np.int64).min, np.int64)
    for block in blocks(len(users)):
        np.maximum.at(latest, users[block], times[block])
    return latest


def take(columns: Table, rows: Longs) -> dict[str, Column]:
    """The columns at these rows."""
    return {name: column[rows] for name, column in columns.items()}


def sample(columns: Table) -> Columns:
    """The first rows, as plain arrays."""
    return {name: np.array(expanded(column[:SAMPLE])) for name, column in columns.items()}


def query_columns(model: Model, rows: pl.DataFrame, users: pl.DataFrame) -> dict[str, Column]:
    """The raw columns the query side reads, of interactions joined with their users; strings coded. What is
    made of the log is left out."""
    features = [f for f in model.features("query") if f.column not in DERIVED]
    _refuse_derived(model, {"interactions": rows, "users": users})
    missing = [f.column for f in features if f.column not in rows.columns]
    table = join_users(rows, users) if missing else rows
    names = needed(features, table.columns, "user_id", "query")
    if reads_past(model) and "timestamp" in table.columns:
        names = list(dict.fromkeys([*names, "timestamp"]))
    return to_coded_columns(table, names)


def require_own_names(model: Model, split: Split) -> None:
    """DataError where a column has a name that the model gives to what is made of past events."""
    _refuse_derived(model, {"interactions": split.train, "users": split.users, "items": split.items})


def _refuse_derived(model: Model, tables: dict[str, pl.DataFrame]) -> None:
    """A column of one's own under the name of one that is made of past events, or that requests tell."""
    read = {feature.column for side in ("query", "candidate") for feature in model.features(side)}
    past = reads_past(model)
    for table, frame in tables.items():
        for name in frame.columns:
            meant = name in DERIVED or (past and name in RESERVED)
            if meant and (name in read or (table == "items" and past)):
                raise DataError(
                    f"the {table} have a column {name!r}, the name of what is made of past events",
                    hint=f"rename it, for instance to 'own_{name}'",
                )


def item_columns(model: Model, items: pl.DataFrame) -> dict[str, Column]:
    """The raw columns the candidate side reads, of the whole catalogue; strings coded."""
    features = [f for f in model.features("candidate") if not isinstance(f, OfPast)]
    _refuse_derived(model, {"items": items})
    return to_coded_columns(items, needed(features, items.columns, "item_id", "candidate"))


def positions_of(rows: pl.DataFrame, items: pl.DataFrame) -> Ints:
    """Each interaction's item as a catalogue position; int32 [n]."""
    known = Vocabulary.of(items["item_id"].cast(pl.String).to_list())
    positions = known.lookup(coded(rows["item_id"])) - np.int32(1)
    if len(positions) and positions.min() < 0:
        row = int(np.argmin(positions))
        raise DataError(
            f"row {row}: item {rows['item_id'][row]!r} is not in the items table",
            hint="add it to the items table",
        )
    return positions


def user_indices(rows: pl.DataFrame, users: Vocabulary) -> Ints:
    """Each interaction's user among the training users, -1 where unknown; int32 [n]."""
    return users.lookup(coded(rows["user_id"])) - np.int32(1)


def _ids(rows: pl.DataFrame, name: str, columns: Table) -> Coded:
    """The ids of the rows, coded once."""
    known = columns.get(name)
    return known if isinstance(known, Coded) else coded(rows[name])


def labels_of(model: Model, rows: pl.DataFrame) -> dict[str, Floats]:
    """The labels of rows, as `Examples` has them. DataError where a column is absent or no number, where a
    row lacks a label it needs (see `may_lack`), and where no row has one."""
    out: dict[str, Floats] = {}
    for name in dict.fromkeys(head.label for head in model.heads):
        values = label(rows, name, missing=may_lack(model, name))
        known = np.isfinite(values)
        out[name] = np.where(known, values, np.float32(0))
        if not known.all():
            out[name + KNOWN] = known.astype(np.float32)
            if not known.any():
                raise DataError(f"no row has the label {name!r}", hint="train a model without that task")
    return out


def may_lack(model: Model, name: str) -> bool:
    """Whether rows may have no label of that name: they still teach retrieval, and whatever learns from the
    label takes each row by itself (a task of one's own may compare rows)."""
    retrieves = model.retrieval is not None and model.retrieval.weight != 0
    return retrieves and all(isinstance(head, Rating) for head in model.heads if head.label == name)


def label(rows: pl.DataFrame, name: str, *, missing: bool = False) -> Floats:
    """A label column as float32 [n]; DataError where it is absent or not a number. missing: nulls are NaN."""
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
    good = np.isfinite(narrow)
    if missing:
        good |= column.is_null().to_numpy()
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(f"the label {name!r} of row {row} is {values[row]}, expected a finite 32-bit number")
    return narrow


def weights_of(rows: pl.DataFrame, *, zeros: bool = False) -> Floats:
    """The weight of each row, 1 where there are none; float32 [n]. DataError for negative ones and, unless
    these are a part of the rows (`zeros`), where all are zero."""
    if "weight" not in rows.columns:
        return np.ones(rows.height, np.float32)
    weights = label(rows, "weight")
    if weights.min() < 0 or (weights.sum() <= 0 and not zeros):
        raise DataError(f"weights must not be negative nor all zero; the smallest is {weights.min()}")
    return weights


def needed(features: Sequence[FeatureSpec], columns: Sequence[str], key: str, side: str) -> list[str]:
    """The key column and the features', checked to be there."""
    for feature in features:
        if feature.column not in columns:
            raise DataError(
                f"the {side} tower's feature {type(feature).__name__}({feature.column!r}) names a column"
                f" that is not in the {'items' if side == 'candidate' else 'interactions or users'} table",
                hint=did_you_mean(feature.column, columns),
            )
    return list(dict.fromkeys([key, *(f.column for f in features)]))
