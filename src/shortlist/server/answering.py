"""Queries of many requests in one call of a recommender, and its slate as an answer to each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shortlist.errors import RequestError
from shortlist.features.requests import take_rows
from shortlist.pipeline.histories import Past
from shortlist.pipeline.scoring import score as score_rows
from shortlist.pipeline.shortlists import shortlists
from shortlist.pipeline.slate import Slate, plain_values
from shortlist.pipeline.stages import Utility
from shortlist.server.acts import ratings_told
from shortlist.server.answers.columns import beside
from shortlist.server.answers.shortlists import Listed, Scored, Shortlist
from shortlist.server.bundles import Loaded
from shortlist.server.events.overlay import History
from shortlist.server.wire import OWN, Asker, Query, Row, Weights, seconds
from shortlist.state.seen import Seen

_NOTHING = np.zeros(0, np.int32)
_FILTERS = ("exclude", "only", "where")


def recommend(loaded: Loaded, queries: Sequence[Query]) -> list[Shortlist]:
    """Shortlists of queries that agree in `filter_seen` and `utility`. Raises RequestError, not saying of
    which."""
    recommender = loaded.recommender
    read = recommender.read([_given(loaded, query) for query in queries], pasts=_pasts(loaded, queries))
    exclude, only, where = ([getattr(query, name) for query in queries] for name in _FILTERS)
    chosen = recommender.filters.read(
        len(queries),
        exclude if any(exclude) else None,
        None if all(ids is None for ids in only) else only,
        None if all(text is None for text in where) else where,
    )
    first, filter_seen = queries[0], queries[0].filter_seen
    if filter_seen and loaded.overlay is not None:
        hidden = _had(loaded, queries)
        filter_seen = any(query.history is not None for query in queries)  # which stands for itself
        if len(hidden):
            both = hidden if chosen.exclude is None else chosen.exclude.joined(hidden)
            chosen = chosen._replace(exclude=both)
    k = max(query.k for query in queries)
    order = order_of(loaded, first.utility)
    slate = shortlists(recommender, read, chosen, k, filter_seen=filter_seen, utility=order)
    return answers_of(loaded, queries, slate)


def order_of(loaded: Loaded, weights: Weights | None) -> Utility | None:
    """What a request wants shortlists to be ordered by; None: what the bundle says."""
    own = loaded.recommender.utility
    if weights is None:
        return None
    return Utility(
        own.rating_weight if weights.rating_weight is None else weights.rating_weight,
        own.head if weights.head is None else weights.head,
    )


def answers_of(loaded: Loaded, queries: Sequence[Query], slate: Slate) -> list[Shortlist]:
    """A slate as an answer to each query."""
    columns = {name: plain_values(values) for name, values in slate.columns.items() if name != "user_id"}
    if slate.retrieval_ranks is not None:
        columns["retrieval_rank"] = slate.retrieval_ranks.tolist()
    own, places = tuple(columns), slate.positions.astype(np.int64)
    for name in (name for query in queries for name in query.item_columns):
        if name not in columns:
            columns[name] = plain_values(take_rows(loaded.items.column(name), places))
    bounds = np.searchsorted(slate.query, np.arange(len(queries) + 1)).tolist()
    answers = []
    for query, start, stop in zip(queries, bounds, bounds[1:], strict=False):
        end = min(stop, start + query.k)
        names = own if not query.item_columns else tuple(dict.fromkeys((*own, *query.item_columns)))
        items = list(map(beside(Listed, names), *(columns[name][start:end] for name in names)))
        user = None if query.user_id is None else str(query.user_id)
        answers.append(Shortlist(user_id=user, bundle=loaded.version, variant=loaded.side, items=items))
    return answers


def score(loaded: Loaded, rows: Sequence[Row]) -> list[Scored]:
    """What the model says of each row. Raises RequestError, which says nothing of which."""
    given = []
    for row in rows:
        columns = _given(loaded, row)
        columns["item_id"] = row.item_id
        if row.item:
            columns.update(_free(row.item, "item"))
        given.append(columns)
    table = score_rows(loaded.recommender, given, _pasts(loaded, rows))
    lists = [plain_values(column) for column in table.columns.values()]
    return list(map(beside(Scored, tuple(table.columns)), *lists))


def asked(loaded: Loaded, asker: Asker) -> dict[str, Any]:
    """A row of a request to the recommender: what is given, else the history with the events since."""
    row = _given(loaded, asker)
    if (told := _told(loaded, asker)) is not None:
        row.update(told.request())
    return row


def _told(loaded: Loaded, asker: Asker) -> History | None:
    """What a user did in training and since, where there is anything since and the row tells nothing."""
    if loaded.overlay is None or asker.user_id is None or asker.history is not None:
        return None
    when = None if asker.timestamp is None else seconds(asker.timestamp)
    told = loaded.overlay.told(str(asker.user_id), before=when)
    return told if told is not None and len(told) else None


def _pasts(loaded: Loaded, askers: Sequence[Asker]) -> list[Past | None]:
    told = (_told(loaded, asker) for asker in askers)
    return [None if history is None else history.past for history in told]


def _given(loaded: Loaded, asker: Asker) -> dict[str, Any]:
    """What a row says itself."""
    row: dict[str, Any] = {"user_id": None if asker.user_id is None else str(asker.user_id)}
    if asker.context:
        row.update(_free(asker.context, "context"))
    if asker.timestamp is not None:
        row["timestamp"] = _second("timestamp", asker.timestamp)
    if asker.history is not None:
        row["history"] = asker.history
    if asker.history_timestamp is not None:
        times = enumerate(asker.history_timestamp)
        row["history_timestamp"] = [_second("history_timestamp", time, n) for n, time in times]
    if asker.history_rating is not None:
        row["history_rating"] = ratings_told(loaded, row, asker.history_rating)
    return row


def _second(name: str, given: int | str, index: int | None = None) -> int:
    """A time of a request. RequestError for text that is none."""
    try:
        return seconds(given)
    except (ValueError, OverflowError):
        place = "" if index is None else f", index {index}"
        raise RequestError(
            f"row 0, column {name!r}{place}: expected a time from 1970 on, in seconds or as ISO 8601 text,"
            f" got {given!r}",
            column=name,
            index=index,
        ) from None


def _had(loaded: Loaded, queries: Sequence[Query]) -> Seen:
    """All that users are known to have had, in training and since, whatever the time they ask for; a row a
    query. Nothing of those that tell a history."""
    rows = []
    for query in queries:
        user = query.user_id
        if loaded.overlay is None or user is None or query.history is not None:
            rows.append(_NOTHING)
        else:
            rows.append(loaded.overlay.seen(user if type(user) is str else str(user)))
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=indptr[1:])
    return Seen(indptr, np.concatenate(rows))


def _free(columns: dict[str, Any], place: str) -> dict[str, Any]:
    for name in OWN:
        if name in columns:
            raise RequestError(
                f"row 0, column {name!r}: {name!r} is no column of {place!r}: give it beside {place!r}",
                argument=place,
                column=name,
            )
    return columns
