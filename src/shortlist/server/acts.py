"""What a user did, as far as a bundle and the events since tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from shortlist.server.bundles import Loaded
from shortlist.state.past import Past


def acts_of(loaded: Loaded, user_id: str) -> list[dict[str, Any]]:
    """A row for each act: item_id, and timestamp and rating where they are known. The latest first where the
    bundle keeps times; else events since, the latest first, and then what the user is known to have had."""
    users, overlay = loaded.recommender.users, loaded.overlay
    told = None if overlay is None else overlay.told(user_id)
    if told is not None:
        return _rows(told.item_ids, told.timestamps, _given(users.past, told.ratings))
    index = int(users.indices([user_id])[0])
    if users.past is None or index < 0:
        return _had(loaded, user_id, index)
    log = users.past.log
    own = slice(int(log.indptr[index]), int(log.indptr[index + 1]))
    return _rows(
        loaded.recommender.items.ids[log.items[own]].tolist()[::-1],
        log.times[own].tolist()[::-1] if users.past.timed else None,
        _given(users.past, None if log.ratings is None else log.ratings[own].tolist()[::-1]),
    )


def _given(past: Past | None, ratings: Sequence[float | None] | None) -> list[float | None] | None:
    """Those that users gave, None in place of what a model reads where they gave none."""
    return None if past is None or ratings is None else [past.given(rating) for rating in ratings]


def _rows(
    item_ids: Sequence[str], timestamps: Sequence[int] | None, ratings: Sequence[float | None] | None
) -> list[dict[str, Any]]:
    columns = {"item_id": item_ids, "timestamp": timestamps, "rating": ratings}
    known = {name: column for name, column in columns.items() if column is not None}
    return [dict(zip(known, row, strict=True)) for row in zip(*known.values(), strict=True)]


def _had(loaded: Loaded, user_id: str, index: int) -> list[dict[str, Any]]:
    """Of a bundle without times."""
    ids, overlay = loaded.recommender.items.ids, loaded.overlay
    if overlay is None:
        return _rows(ids[loaded.recommender.users.seen.of(index)].tolist(), None, None)
    had: list[str] = ids[overlay.seen(user_id)].tolist()
    left, since = set(had), []
    for act in reversed(overlay.recent.of(user_id)):
        if act.item_id in left and overlay.counts(act):
            left.discard(act.item_id)
            rating = {} if act.rating is None else {"rating": act.rating}
            since.append({"item_id": act.item_id, "timestamp": act.timestamp, **rating})
    return [*since, *_rows([one for one in had if one in left], None, None)]


def ratings_told(loaded: Loaded, row: dict[str, Any], ratings: list[float | None]) -> list[float | None]:
    """The ratings of a history that a row tells. None says that an event has none: where the user's own past
    holds this event without one, it is read as it is there, so that what is told as it is stored means the
    same."""
    users, told = loaded.recommender.users, row.get("history")
    past = users.past
    if told is None or past is None or past.unrated is None or None not in ratings:
        return ratings
    index = int(users.indices([row["user_id"] or ""])[0])
    if index < 0 or past.log.ratings is None:
        return ratings
    log = past.log
    own = np.arange(log.indptr[index], log.indptr[index + 1])
    own = own[past.log.ratings[own] == np.float32(past.unrated)]
    ids = loaded.recommender.items.ids[log.items[own]].tolist()
    times = row.get("history_timestamp") if past.timed else None
    unrated = set(ids if times is None else zip(ids, log.times[own].tolist(), strict=True))
    texts = list(map(str, told))
    acts = [*(texts if times is None else zip(texts, times, strict=False))]
    return [
        past.unrated if rating is None and n < len(acts) and acts[n] in unrated else rating
        for n, rating in enumerate(ratings)
    ]
