"""All that a server process holds: bundles, what users did since, the batcher, guards and counts."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Sequence
from itertools import count
from time import time
from typing import Any

from shortlist.server.answers.shortlists import Shortlist
from shortlist.server.batching import Batcher
from shortlist.server.bundles import Loaded, Variants
from shortlist.server.endpoint import Reply
from shortlist.server.events.event import Impression
from shortlist.server.events.opening import open_store
from shortlist.server.events.recent import Recent
from shortlist.server.events.writer import Writer
from shortlist.server.exchanging import POLL, Exchanger
from shortlist.server.explaining import Explainer
from shortlist.server.guards import Guard, Keys
from shortlist.server.logs import LOG
from shortlist.server.metrics import COUNTS, Board
from shortlist.server.settings import Settings
from shortlist.server.wire import Query


class Service:
    """Made before a server listens: bundles are loaded and have answered once."""

    def __init__(self, settings: Settings, board: Board) -> None:
        self.settings, self.board = settings, board
        self.guard = Guard(settings, None if settings.keys is None else Keys.read(settings.keys))
        self.store = open_store(settings.events) if settings.events else None
        self.writer = None if self.store is None else Writer(self.store)
        distant = settings.events.startswith("postgres")
        self.recent = None if self.store is None else Recent(self.store, every=0.2 if distant else 0.0)
        self.variants = Variants(settings, self.recent, self.happened)
        self._compare_catalogues()
        self.exchanger = Exchanger(self.variants, board.agreement, self.happened)
        self.batcher = Batcher(settings.batch, settings.seconds, self.refresh, self._called)
        self.explainer = Explainer(settings.seconds)
        self.draining = False
        self._began, self._numbers = secrets.token_hex(6), count(1)
        self._watching: asyncio.Task[None] | None = None

    # While it runs

    def new_id(self) -> str:
        """An id that no other of these is, of this process or of another one."""
        return f"{self._began}-{next(self._numbers):x}"

    def of(self, user_id: str | int | None, side: str | None = None) -> Loaded:
        """The bundle that answers a user, or the one of a side."""
        if side is not None:
            return self.variants.named(side).now
        return self.variants.of(None if user_id is None else str(user_id))

    def shown(self, queries: Sequence[Query], answers: Sequence[Shortlist], request_id: str) -> None:
        """Count shortlists that users are shown; where that is asked for, keep them."""
        pairs = zip(queries, answers, strict=True)
        sent = [answer for query, answer in pairs if query.shown]
        for answer in sent:
            self.board.add(f"variant_queries:{answer.variant}")
            self.board.add(f"variant_items:{answer.variant}", len(answer.items))
            if answer.items and answer.items[0].source == "popular":
                self.board.add(f"variant_popular:{answer.variant}")
        if self.settings.impressions and sent and self.writer is not None:
            self.writer.log(
                [
                    Impression(
                        request_id=f"{request_id}.{self.new_id()}",  # callers may call many requests the same
                        user_id=answer.user_id,
                        items=tuple(item.item_id for item in answer.items),
                        timestamp=int(time()),
                        bundle=answer.bundle,
                        variant=answer.variant,
                    )
                    for answer in sent
                    if answer.user_id is not None
                ]
            )

    def happened(self, what: str, side: str, why: str) -> None:
        """A bundle was exchanged, or refused."""
        if what in COUNTS:
            self.board.add(what)
        level = logging.WARNING if what in ("reloads_refused", "lost", "few_items_shared") else logging.INFO
        LOG.log(level, json.dumps({"event": what, "side": side, "detail": why}))

    def _compare_catalogues(self) -> None:
        """Warn where sides have so few items in common that they cannot be of one experiment."""
        first, *others = (variant.now for variant in self.variants.all)
        for other in others:
            ours, theirs = first.recommender.items, other.recommender.items
            shared = int((ours.positions(theirs.ids) >= 0).sum())
            if 2 * shared < min(len(ours), len(theirs)):
                sizes = f"of its {len(theirs):,} and {len(ours):,} there"
                why = f"{shared:,} items in common with side {first.side}, {sizes}"
                self.happened("few_items_shared", other.side, why)

    def logged(self, route: str, scope: Any, reply: Reply[Any], seconds: float, request_id: str) -> None:
        """A line of JSON for a request, without its path (which may hold ids) unless that is asked for."""
        wanted = self.settings.log
        if wanted == "none" or (wanted == "problems" and reply.status < 500):
            return
        line = {
            "event": "request",
            "route": route,
            "method": scope["method"],
            "status": reply.status,
            "ms": round(seconds * 1e3, 2),
            "bytes": len(reply.body),
            "request_id": request_id,
        }
        if self.settings.log_ids:
            line["path"] = scope["path"]
        LOG.info(json.dumps(line))

    def refresh(self) -> None:
        """Take in what was written to the store since."""
        if self.recent is not None:
            self.recent.refresh()

    def _called(self, num: int) -> None:
        self.board.add("batches")
        self.board.add("queries", num)

    # Its life

    def start(self) -> None:
        """Begin to watch, in a running loop."""
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """Write what waits, and let go of the store."""
        self.exchanger.agreement.serve(self.board.worker, False)
        if self._watching is not None:
            self._watching.cancel()
        if self.writer is not None:
            await asyncio.to_thread(self.writer.close, 30.0)
        if self.store is not None and hasattr(self.store, "close"):
            self.store.close()

    async def reload(self, side: str = "") -> None:
        """Take what is on disk into use, of one side or all, here and in the other processes. Raises
        ShortlistError; other sides are tried."""
        await self.exchanger.reload(side)

    async def _watch(self) -> None:
        """Look for what the processes of this server agreed on, and for bundles that changed on disk."""
        waited = 0.0
        while True:
            await asyncio.sleep(POLL)
            waited += POLL
            try:
                await self.exchanger.follow()
                if self.settings.watch and waited >= self.settings.watch:
                    waited = 0.0
                    await self.exchanger.look()
            except Exception as error:  # what is in use stays; the watch goes on
                LOG.warning(json.dumps({"event": "watch", "detail": str(error)}))
