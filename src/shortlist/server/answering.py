"""Queries of many requests in one call of a recommender, and its slate as an answer to each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shortlist.errors import RequestError
from shortlist.features.requests import take_rows
from shortlist.pipeline.slate import plain_values
from shortlist.server.bundles import Loaded
from shortlist.server.wire import Asker, Query, Row, Shortlist, seconds

_TOLD = ("user_id", "item_id", "timestamp", "history", "history_timestamp", "history_rating")


def recommend(loaded: Loaded, queries: Sequence[Query]) -> list[Shortlist]:
    """Shortlists of queries that agree in `filter_seen`. Raises RequestError, which says nothing of which."""
    recommender = loaded.recommender
    rows = [asked(loaded, query) for query in queries]
    exclude = [_excluded(loaded, query) for query in queries]
    only = [query.only for query in queries]
    where = [query.where for query in queries]
    slate = recommender.recommend(
        rows,
        max(query.k for query in queries),
        filter_seen=queries[0].filter_seen,
        exclude=exclude if any(exclude) else None,
        only=None if all(ids is None for ids in only) else only,
        where=None if all(text is None for text in where) else where,
    )
    columns = {name: plain_values(values) for name, values in slate.columns.items() if name != "user_id"}
    wanted = dict.fromkeys(name for query in queries for name in query.item_columns)
    beside = {
        name: plain_values(take_rows(loaded.items.column(name), slate.positions.astype(np.int64)))
        for name in wanted
    }
    names = tuple(columns)
    items = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    bounds = np.searchsorted(slate.query, np.arange(len(queries) + 1)).tolist()
    answers = []
    for n, query in enumerate(queries):
        start, stop = bounds[n], min(bounds[n + 1], bounds[n] + query.k)
        mine = items[start:stop]
        for name in query.item_columns:
            for item, value in zip(mine, beside[name][start:stop], strict=True):
                item[name] = value
        user = None if query.user_id is None else str(query.user_id)
        answers.append(Shortlist(user_id=user, bundle=loaded.version, variant=loaded.side, items=mine))
    return answers


def score(loaded: Loaded, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What the model says of each row. Raises RequestError, which says nothing of which."""
    given = []
    for row in rows:
        columns = asked(loaded, row)
        columns["item_id"] = row.item_id
        if row.item:
            columns.update(_free(row.item, "item"))
        given.append(columns)
    table = loaded.recommender.score(given)
    names = tuple(table.columns)
    lists = [plain_values(column) for column in table.columns.values()]
    return [dict(zip(names, values, strict=True)) for values in zip(*lists, strict=True)]


def asked(loaded: Loaded, asker: Asker) -> dict[str, Any]:
    """A row of a request to the recommender: what is given, else the history with the events since."""
    row: dict[str, Any] = {"user_id": None if asker.user_id is None else str(asker.user_id)}
    if asker.context:
        row.update(_free(asker.context, "context"))
    when: int | None = None
    if asker.timestamp is not None:
        try:
            row["timestamp"] = when = seconds(asker.timestamp)
        except (ValueError, OverflowError):
            raise RequestError(
                f"row 0, column 'timestamp': expected seconds since 1970 or ISO 8601 text, got"
                f" {asker.timestamp!r}"
            ) from None
    if asker.history is not None:
        row["history"] = asker.history
    for name in ("history_timestamp", "history_rating"):
        if (given := getattr(asker, name)) is not None:
            row[name] = given
    if loaded.overlay is not None and "history" not in row and row["user_id"] is not None:
        told = loaded.overlay.told(row["user_id"], before=when)
        if told is not None and len(told):
            row.update(told.request())
    return row


def _excluded(loaded: Loaded, query: Query) -> list[Any] | None:
    """What a query is not to get: what it says, and what its user did since the bundle was trained."""
    since = None
    if (
        query.filter_seen
        and loaded.overlay is not None
        and query.user_id is not None
        and query.history is None
    ):
        since = loaded.overlay.since(str(query.user_id))
    if not since:
        return query.exclude
    return since if not query.exclude else [*query.exclude, *since]


def _free(columns: dict[str, Any], place: str) -> dict[str, Any]:
    for name in _TOLD:
        if name in columns:
            raise RequestError(
                f"row 0, column {name!r}: {name!r} is no column of {place!r}: give it beside {place!r}"
            )
    return columns
