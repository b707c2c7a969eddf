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

from shortlist.errors import ShortlistError
from shortlist.server.batching import Batcher
from shortlist.server.bundles import Loaded, Variants
from shortlist.server.endpoint import Reply
from shortlist.server.events.event import Impression
from shortlist.server.events.opening import open_store
from shortlist.server.events.recent import Recent
from shortlist.server.events.writer import Writer
from shortlist.server.explaining import Explainer
from shortlist.server.guards import Guard, Keys
from shortlist.server.logs import LOG
from shortlist.server.memory import give_back
from shortlist.server.metrics import SHARED, Board
from shortlist.server.settings import Settings
from shortlist.server.wire import Query, Shortlist

_POLL = 0.2  # seconds between looks at what other processes of this server were told


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
        self.batcher = Batcher(settings.batch, settings.seconds, self.refresh, self._called)
        self.explainer = Explainer(settings.seconds)
        self.draining = False
        self._began, self._numbers = secrets.token_hex(6), count(1)
        self._watching: asyncio.Task[None] | None = None

    # While it runs

    def new_id(self) -> str:
        """An id that no other of these is, of this process or of another one."""
        return f"{self._began}-{next(self._numbers):x}"

    def of(self, user_id: Any, side: str | None = None) -> Loaded:
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
        self.board.add(what)
        level = logging.WARNING if what == "reloads_refused" else logging.INFO
        LOG.log(level, json.dumps({"event": what, "side": side, "detail": why}))

    def logged(self, route: str, scope: Any, reply: Reply, seconds: float, request_id: str) -> None:
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
        if self._watching is not None:
            self._watching.cancel()
        if self.writer is not None:
            await asyncio.to_thread(self.writer.close, 30.0)
        if self.store is not None and hasattr(self.store, "close"):
            self.store.close()

    async def reload(self, side: str = "", *, force: bool = True) -> bool:
        """Take what is on disk into use, of one side or all. Raises ShortlistError; others are tried."""
        variants = [self.variants.named(side)] if side else self.variants.all
        changed, problem = False, None
        for variant in variants:
            try:
                changed |= await self.variants.reload(variant, force=force)
            except ShortlistError as error:
                problem = error
        if changed:
            give_back()  # of the bundle before the one before, which may hold on to itself
        if problem is not None:
            raise problem
        return changed

    async def _watch(self) -> None:
        """Look for bundles that changed on disk, and for what another process of this server was told."""
        names = [f"{what}:{side}" for what in SHARED for side in self.board.variants]
        heard = {name: self.board.elsewhere(name) for name in names}
        waited = 0.0
        while True:
            await asyncio.sleep(_POLL)
            waited += _POLL
            told = {name: self.board.elsewhere(name) for name in names}
            try:
                for name in names:
                    if told[name] != heard[name]:
                        await self._do(*name.split(":", 1))
                if self.settings.watch and waited >= self.settings.watch:
                    waited = 0.0
                    await self.reload(force=False)
            except Exception as error:  # what is in use stays; the watch goes on
                LOG.warning(json.dumps({"event": "watch", "detail": str(error)}))
            heard = told

    async def _do(self, what: str, side: str) -> None:
        if what == "reload_asked":
            await self.reload(side)
        else:
            self.variants.roll_back(self.variants.named(side))
