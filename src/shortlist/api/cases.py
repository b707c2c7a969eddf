"""Test rows as arrays, each with the query it asks: what a recommender is judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from shortlist._typing import MISSING_INT, Array, Bools, Columns, Doubles, Longs
from shortlist.api.pasts import standing
from shortlist.api.preparing import positions_of, user_indices
from shortlist.data.coded import Column
from shortlist.data.columns import to_columns
from shortlist.data.splits import Split
from shortlist.data.tables import join_users
from shortlist.errors import DataError, did_you_mean
from shortlist.evaluation.rows import TestRows
from shortlist.features.fitted import type_of
from shortlist.features.history import DERIVED
from shortlist.features.log import Standing
from shortlist.pipeline.questions import query_columns
from shortlist.pipeline.recommender import Recommender

Asked = dict[str, Column]
"""Query columns by name."""


@dataclass(frozen=True)
class Case:
    """Test rows as arrays, with the query of each.

    liked: bool [n], rated no worse than the mean of earlier rows. repeated: bool [n], the user has the item
    in training. first: int64 [U'], the earliest test row of each user, by user key: its query stands for the
    user. bare_queries: one query a user, who names nothing but a user_id. at: where rows stand in the log of
    what users did, where the recommender has one.
    """

    rows: TestRows
    queries: Asked
    liked: Bools
    repeated: Bools
    first: Longs
    bare_queries: Asked
    at: Standing | None = None

    @property
    def first_users(self) -> Array:
        """Each test user's index, -1 where unknown."""
        return self.rows.users[self.first]

    @property
    def first_queries(self) -> Asked:
        """One query a user, in the context of the user's first test row."""
        return {name: column[self.first] for name, column in self.queries.items()}

    @classmethod
    def of(cls, recommender: Recommender, split: Split, test: pl.DataFrame) -> Case:
        if test.height == 0:
            raise DataError("there are no test rows to evaluate on", hint="use a larger test share")
        known = pl.concat([split.train, split.validation])
        vocabulary = recommender.users.vocabulary
        ratings = ratings_of(test)
        rows = TestRows.of(
            user_indices(known, vocabulary),
            positions_of(known, split.items),
            user_indices(test, vocabulary),
            positions_of(test, split.items),
            split.items.height,
            user_keys=test["user_id"].to_numpy().astype(str),
            ratings=ratings,
        )
        given = _query_columns(recommender, join_users(test, split.users))
        events, schema = recommender.events, recommender.schema
        at = None
        if events is not None:
            at = standing(events, test, rows.users.astype(np.int32), rows.targets.astype(np.int32))
        places = None if at is None else at.places
        queries = query_columns(schema, recommender.users, given, rows.users, events, places)
        before = ratings_of(known)
        liked = np.ones(len(rows), bool)
        if ratings is not None and before is not None:
            liked = ratings >= np.nanmean(before)  # a row without a rating is not known to be liked
        first = first_rows_of(
            rows.user_keys, test["timestamp"].to_numpy() if "timestamp" in test.columns else None
        )
        named = {name: column[first] for name, column in given.items() if name == "user_id"}
        bare = query_columns(schema, recommender.users, named, rows.users[first], events)
        return cls(rows, queries, liked, _repeated(recommender, rows), first, bare, at)


def first_rows_of(user_keys: Longs, times: Array | None) -> Longs:
    """The earliest row of each user, by user key, int64 [U']: of one time, or without times [n], the one that
    comes first."""
    order = np.argsort(user_keys, kind="stable") if times is None else np.lexsort((times, user_keys))
    first: Longs = order[np.unique(user_keys[order], return_index=True)[1]]
    return first


def aligned(recommender: Recommender, split: Split) -> Split:
    """The split with the recommender's catalogue, whose positions its vectors and seen sets are in."""
    ids = recommender.items.ids.tolist()
    if split.items["item_id"].to_list() == ids:
        return split
    for part in (split.train, split.validation, split.test):
        strange = part.filter(~pl.col("item_id").is_in(ids))["item_id"]
        if len(strange):
            raise DataError(
                f"item {strange[0]!r} of the data is not in the recommender's catalogue of {len(ids):,} items"
                f" ({strange.n_unique():,} such items)",
                hint="evaluate on the items it was trained with, or train on this data",
            )
    return replace(split, items=pl.DataFrame({"item_id": ids}))


def _query_columns(recommender: Recommender, rows: pl.DataFrame) -> Columns:
    """The columns the query side reads, of rows joined with their users, in the types it was fitted with."""
    wanted = {name: kind for name, kind in recommender.schema.query.items() if name not in DERIVED}
    require_read(recommender, rows.columns)
    given = to_columns(rows, [name for name in wanted if name in rows.columns])
    for name, column in given.items():
        kind = type_of(column)
        if kind == "int" and wanted[name] == "float":
            given[name] = np.where(column == MISSING_INT, np.nan, column.astype(np.float64))
        elif kind != wanted[name]:
            raise DataError(
                f"the recommender reads the column {name!r} as {wanted[name]}, the data holds {kind}",
                hint="evaluate on data like that it was trained on",
            )
    return given


def require_read(recommender: Recommender, columns: Sequence[str], place: str = "") -> None:
    """DataError where test rows lack a column that a recommender reads and does not know of its users.
    place: the file they are of."""
    # a user's stored last time answers requests, it is not the time of a test row
    stored = recommender.users.columns.keys() - {"timestamp"}
    if recommender.users.past is not None and not recommender.users.past.timed:
        stored = {*stored, "timestamp"}
    known = {*DERIVED, *stored, *columns}
    absent = [name for name in recommender.schema.query if name not in known]
    if absent:
        lacking = f"{place} does not have" if place else "neither interactions nor users have"
        raise DataError(
            f"the recommender reads the column {absent[0]!r}, which {lacking}",
            hint=did_you_mean(absent[0], columns),
        )


def said_of_repeats(case: Case) -> str:
    """A sentence where test rows name a pair of training again, as people who buy twice do; else nothing."""
    count = case.repeated.sum()
    if not count:
        return ""
    return (
        f"{count:,} of {len(case.rows):,} test rows name a pair of training: filtered figures keep their item"
        " among the candidates, stages leave these rows out, recommend() shows it with filter_seen=False only"
    )


def _repeated(recommender: Recommender, rows: TestRows) -> Bools:
    # by pair: what each row's user has seen would be millions of items where users have many rows
    user, item = recommender.users.seen.pairs()
    known = user * rows.num_items + item  # ascending; np.isin would hash them all
    if not len(known):
        return np.zeros(len(rows), np.bool_)
    wanted = rows.users * rows.num_items + rows.targets
    repeated: Bools = known[np.minimum(np.searchsorted(known, wanted), len(known) - 1)] == wanted
    return repeated


def ratings_of(rows: pl.DataFrame) -> Doubles | None:
    """The ratings of interactions [n], where they have any."""
    return rows["rating"].cast(pl.Float64).to_numpy() if "rating" in rows.columns else None
