"""Shortlists that say why: worked out one at a time, in a thread, so that others are answered meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from msgspec import UNSET, to_builtins

from shortlist._typing import Longs
from shortlist.pipeline import explaining
from shortlist.pipeline.explaining import MOST
from shortlist.server.answering import answers_of, asked, order_of
from shortlist.server.answers.columns import row_of
from shortlist.server.answers.shortlists import Change, Explained, Explanation, ListedWhy, Reason, Shortlist
from shortlist.server.bundles import Loaded
from shortlist.server.problems import Trouble
from shortlist.server.wire import Query

_WAITING = 16  # requests to be explained, before more are refused


@dataclass(eq=False)
class Explainer:
    """seconds: how long a request may wait for its turn."""

    seconds: float = 5.0
    _waiting: int = field(default=0, init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False, repr=False)

    async def explain(self, loaded: Loaded, query: Query) -> tuple[Shortlist, Explained]:
        """The answer as it is without an explanation, and with it. Raises as answering does, and Trouble."""
        if query.k > MOST:
            raise Trouble(
                422,
                f"an explained shortlist has at most {MOST} items",
                pointer="/explain",
                hint=f"k up to {MOST}, or no explain",
            )
        if self._waiting >= _WAITING:
            raise Trouble(503, "there is too much to explain", retry_after=2)
        self._waiting += 1
        try:
            async with asyncio.timeout(self.seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise Trouble(503, "there is too much to explain", retry_after=2) from None
        finally:
            self._waiting -= 1
        try:
            row, exclude = asked(loaded, query), _left_out(loaded, query)  # here, where events are read
            return await asyncio.to_thread(explained, loaded, query, row, exclude)
        finally:
            self._turn.release()


def explained(
    loaded: Loaded, query: Query, row: dict[str, Any], exclude: list[Any]
) -> tuple[Shortlist, Explained]:
    """The answer to a query, with what each change of it makes of each item."""
    found = loaded.recommender.explain(
        row,
        query.k,
        filter_seen=query.filter_seen,
        exclude=exclude or None,
        only=query.only,
        where=query.where,
        utility=order_of(loaded, query.utility),
    )
    [plain] = answers_of(loaded, [query], found.slate)
    wanted = None if isinstance(query.explain, bool) else dict.fromkeys(map(str, query.explain))
    items = []
    for place, item in enumerate(plain.items):
        why = {"why": _why(found, place)} if wanted is None or item.item_id in wanted else {}
        items.append(row_of(ListedWhy, to_builtins(item) | why))
    listed = {item.item_id for item in plain.items}
    about = Explanation(
        not_listed=[] if wanted is None else [one for one in wanted if one not in listed],
        changes=_changes(loaded, found.changes),
        history_left_out=found.left_out,
        candidates=found.candidates,
        notes=list(found.notes),
    )
    answer = Explained(
        user_id=plain.user_id, bundle=plain.bundle, variant=plain.variant, items=items, explained=about
    )
    return plain, answer


def _why(found: explaining.Explanation, place: int) -> list[Reason]:
    """What each change makes of one item."""
    out = []
    for change in range(len(found.changes)):
        score, rank = float(found.scores[change, place]), int(found.ranks[change, place])
        scored = not np.isnan(score)
        out.append(
            Reason(
                change=change,
                score=score if scored else None,
                score_change=float(found.score_changes[change, place]) if scored else None,
                rank=rank or None,
                rank_change=int(found.rank_changes[change, place]) if rank else None,
                source=UNSET if scored else "popular",
            )
        )
    return out


def _changes(loaded: Loaded, changes: tuple[explaining.Change, ...]) -> list[Change]:
    names = _names(loaded, [one.item_id for one in changes if one.item_id is not None])
    return [
        _of_history(one, names.get(one.item_id, {})) if one.kind == "history" else _of_column(one)
        for one in changes
    ]


def _of_history(change: explaining.Change, called: dict[str, Any]) -> Change:
    told = {"timestamp": change.timestamp, "rating": change.rating}
    return row_of(
        Change,
        {"kind": change.kind, "set_to": change.set_to, "item_id": change.item_id}
        | {name: value for name, value in told.items() if value is not None}
        | called,
    )


def _of_column(change: explaining.Change) -> Change:
    return Change(
        kind=change.kind,
        set_to=change.set_to,
        name=change.name,
        value=change.value if change.kind == "query" else UNSET,
        partly=True if change.partly else UNSET,
    )


def _names(loaded: Loaded, ids: list[str]) -> dict[str | None, dict[str, Any]]:
    """What items are called, of those that are in the catalogue: the column and its value."""
    name = loaded.items.name
    if name is None or not ids:
        return {}
    places: Longs = loaded.recommender.items.positions(ids)
    column = loaded.items.columns[name]
    return {one: {name: column[place]} for one, place in zip(ids, places.tolist(), strict=True) if place >= 0}


def _left_out(loaded: Loaded, query: Query) -> list[Any]:
    """What is not to come back: what the request says, and all the user had, in training and since."""
    left_out: list[Any] = list(query.exclude or [])
    if loaded.overlay is None or not query.filter_seen or query.user_id is None or query.history is not None:
        return left_out
    had = loaded.overlay.seen(str(query.user_id))
    return [*left_out, *loaded.recommender.items.ids[had].tolist()]
