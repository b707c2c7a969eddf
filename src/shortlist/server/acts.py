"""What a user did, as far as a bundle and the events since tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shortlist.server.bundles import Loaded


def acts_of(loaded: Loaded, user_id: str) -> list[dict[str, Any]]:
    """A row for each act: item_id, and timestamp and rating where they are known. The latest first where the
    bundle keeps times; else events since, the latest first, and then what the user is known to have had."""
    users, overlay = loaded.recommender.users, loaded.overlay
    told = None if overlay is None else overlay.told(user_id)
    if told is not None:
        return _rows(told.item_ids, told.timestamps, told.ratings)
    index = int(users.indices([user_id])[0])
    if users.past is None or index < 0:
        return _had(loaded, user_id, index)
    log = users.past.log
    own = slice(int(log.indptr[index]), int(log.indptr[index + 1]))
    return _rows(
        loaded.recommender.items.ids[log.items[own]].tolist()[::-1],
        log.times[own].tolist()[::-1] if users.past.timed else None,
        None if log.ratings is None else log.ratings[own].tolist()[::-1],
    )


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
