"""What users did, in order, as training reads it: the log, where rows stand in it, what is made of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from shortlist._typing import Array, Columns, Ints, Longs
from shortlist.data.columns import to_columns
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError
from shortlist.features.batches import LARGEST, Catalogue, Examples, Pasts
from shortlist.features.encoder import Encoder
from shortlist.features.history import NUMBERS, Events, Total
from shortlist.features.log import Log, Standing
from shortlist.specs.aggregates import columns_read
from shortlist.specs.features import OfPast
from shortlist.specs.models import Model

if TYPE_CHECKING:
    from shortlist.data.splits import Split
    from shortlist.features.aggregates import Aggregates, Ready


SIDES = ("query", "candidate")


def reads_past(model: Model) -> bool:
    """Whether anything of a model looks at other rows."""
    return bool(
        any(isinstance(f, OfPast) for side in SIDES for f in model.features(side))
        or numbers_read(model)
        or any(head.aggregates for head in model.heads)
        or (model.retrieval is not None and model.retrieval.seen)
    )


def numbers_read(model: Model) -> list[str]:
    """The numbers made of the log that its features read."""
    return [name for name in NUMBERS if any(f.column == name for f in model.features("query"))]


def strictly_earlier(model: Model) -> bool:
    """Whether anything of a model asks what came earlier."""
    past = [f.as_of for side in SIDES for f in model.features(side) if isinstance(f, OfPast)]
    past += [a.as_of for head in model.heads for a in head.aggregates]
    past += [model.retrieval.seen] if model.retrieval is not None and model.retrieval.seen else []
    return "row" in past or bool(numbers_read(model))


def events_of(
    model: Model, split: Split, users: Ints, items: Ints, times: Longs | None, num_users: int
) -> tuple[Events, Standing]:
    """The log of the training rows, and where each row stands in it.

    Raises DataError where the model asks what came earlier of rows without times, or for rated bags of rows
    without ratings.
    """
    if times is None and strictly_earlier(model):
        raise DataError(
            'the model reads what came earlier (as_of="row"), but the interactions have no timestamp column',
            hint='name one with timestamp=, or use as_of="leave-one-out"',
        )
    ratings = fill = None
    if "rating" in split.train.columns:
        ratings = split.train["rating"].cast(pl.Float64).fill_null(float("nan")).to_numpy()
        unrated = np.isnan(ratings)
        if unrated.all():
            ratings = None
        elif unrated.any():  # the mean says nothing of anybody's taste
            fill = float(np.float32(ratings[~unrated].mean()))
            if (ratings[~unrated].astype(np.float32) == fill).any():
                fill = None  # somebody gave the same
            ratings = np.where(unrated, ratings[~unrated].mean(), ratings)
    rated = any(getattr(f, "rated", False) for side in SIDES for f in model.features(side))
    if ratings is None and (rated or any(head.aggregates for head in model.heads)):
        raise DataError(
            "the model reads past ratings, but the interactions have no rating column",
            hint="name one with rating=, or leave rated bags and aggregates out",
        )
    log, places = Log.of(users, items, times, ratings, num_users)
    ids = np.array([*split.items["item_id"].to_list(), None], object)[:-1]
    mean = 0.0 if ratings is None else float(ratings.mean())
    clock = np.zeros(len(users), np.int64) if times is None else times
    return Events(log, ids, mean, times is not None, unrated=fill), Standing.of(users, clock, places)


def with_pasts(
    model: Model,
    encoder: Encoder,
    events: Events,
    at: Standing,
    catalogue: Catalogue,
    examples: Examples,
) -> tuple[Catalogue, Examples]:
    """The same with what users had, in order, and where every row stands in that, if the model asks."""
    bags = [f for f in encoder.query.features if isinstance(f, Total)]
    task = model.retrieval
    if not bags and not (task is not None and task.seen):
        return catalogue, examples
    pasts, past = _pasts(events, at, bags)
    return replace(catalogue, pasts=pasts), replace(examples, past=past)


def with_raters(
    encoder: Encoder, events: Events, at: Standing, users: Array, catalogue: Catalogue, examples: Examples
) -> tuple[Catalogue, Examples, Events | None]:
    """The same with who had each item, in order, if features ask for it; and these events of items.

    Raises DataError where users by items are too many for tables of them.
    """
    bags = [f for f in encoder.candidate.features if isinstance(f, Total)]
    if not bags:
        return catalogue, examples, None
    turned = events.by_item(users)
    stands = Standing.of(examples.candidates, at.times, events.places_by_item(at.places))
    raters, past = _pasts(turned, stands, bags)
    if not raters.spreads(len(users)):
        raise DataError(
            f"{len(users):,} users by {catalogue.num_items:,} items are too many for Bag('user_id')",
            hint="leave it out",
        )
    return replace(catalogue, raters=raters), replace(examples, raters=past), turned


def _pasts(events: Events, at: Standing, bags: list[Total]) -> tuple[Pasts, Ints]:
    """What users had, in order, and where every row stands in that, int32 [n, 3]."""
    firsts = events.firsts
    if len(firsts) > LARGEST:
        raise DataError(f"{len(firsts):,} pairs of users and items, at most {LARGEST:,} can be looked up")
    pasts = Pasts(
        firsts.indptr.astype(np.int32),
        firsts.items,
        {f.spec.key: f.vocabulary.lookup(events.ids) for f in bags},
        {f.spec.key: events.residuals(f.spec.as_of) for f in bags if f.spec.rated},
    )
    own = events.first_places(at.places)
    begin, earlier = firsts.ranges(at, "row")
    end = firsts.ranges(at, "leave-one-out")[1]
    own = np.where(at.users < 0, 0, own - begin)  # beyond the nothing that rows of nobody see
    return pasts, np.stack([earlier - begin, end - begin, own], axis=1).astype(np.int32)


def spread_bags(catalogue: Catalogue) -> bool:
    """Whether bags are given as weights over the catalogue while training, not as lists."""
    return catalogue.pasts is not None and catalogue.pasts.spreads(catalogue.num_items)


def fitted_aggregates(
    model: Model,
    events: Events,
    users: Vocabulary,
    split: Split,
    kept: Mapping[str, Aggregates] | None = None,
) -> dict[str, Ready]:
    """The aggregates of each head that has any, fitted on the log, or as they were kept, ready over it."""
    heads = [head for head in model.heads if head.aggregates]
    if not heads:
        return {}
    from shortlist.features.aggregates import fit_over

    read = columns_read(a for head in heads for a in head.aggregates)
    people = _users_in_order(users, split.users, read)
    things = to_columns(split.items, [name for name in split.items.columns if name in read])
    if kept is not None:
        return {h.name: kept[h.name].over(events.log, people, things) for h in heads}
    return {h.name: fit_over(h.aggregates, events.log, people, things) for h in heads}


def _users_in_order(users: Vocabulary, table: pl.DataFrame, read: Collection[str]) -> Columns:
    known = pl.DataFrame({"user_id": list(users.values)}, schema={"user_id": pl.String})
    rows = known.join(table, on="user_id", how="left", maintain_order="left")
    return to_columns(rows, [name for name in rows.columns if name in read])


def standing(events: Events, rows: pl.DataFrame, users: Ints, items: Ints) -> Standing:
    """Where any interactions stand in the log; those that are events of it are told apart."""
    timed = "timestamp" in rows.columns and events.timed
    clock = rows["timestamp"].to_numpy().astype(np.int64) if timed else np.zeros(rows.height, np.int64)
    places = events.log.find(users.astype(np.int64), items.astype(np.int64), clock)
    return Standing.of(users, clock, places)
