"""Whether the server lives and is ready, what it counted, and exchanging its bundles."""

from __future__ import annotations

from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from shortlist.server.about import plain
from shortlist.server.bundles import Variant
from shortlist.server.endpoint import Call, Reply
from shortlist.server.metrics import SHARED
from shortlist.server.problems import Trouble
from shortlist.server.wire import ENCODE

RELOAD, ROLLBACK = SHARED


class Which(msgspec.Struct, forbid_unknown_fields=True):
    """A side of an experiment; left out: all of them."""

    side: str = ""


_WHICH: msgspec.json.Decoder[Which] = msgspec.json.Decoder(Which)


async def live(call: Call) -> Reply:
    """The process answers."""
    return Reply(b'{"status":"live"}')


async def ready(call: Call) -> Reply:
    """Bundles are loaded and have answered; nobody has asked the server to stop."""
    if call.service.draining:
        raise Trouble(503, "the server is stopping", retry_after=5)
    return Reply(ENCODE({"status": "ready", "bundles": _versions(call)}))


async def metrics(call: Call) -> Reply:
    """Counts for Prometheus."""
    service = call.service
    writer = service.writer
    gauges = {
        "requests_inside": ("Requests being answered", float(service.guard.inside)),
        "queries_waiting": ("Queries that wait for a call", float(service.batcher.waiting)),
        "events_waiting": ("Events not on disk yet", float(0 if writer is None else writer.held)),
    }
    info = {
        f"bundle_{n}": {"side": variant.side.name, "version": variant.now.version}
        for n, variant in enumerate(service.variants.all)
    }
    return Reply(service.board.render(gauges, info), kind=CONTENT_TYPE_LATEST.encode())


async def bundles(call: Call) -> Reply:
    """What answers: sides, shares, versions, since when, what was there before."""
    rows: list[dict[str, Any]] = []
    for variant in call.service.variants.all:
        before = None if variant.before is None else variant.before.version
        side = {"side": variant.side.name, "share": variant.side.share, "before": before}
        rows.append(side | plain(variant.now))
    return Reply(ENCODE({"bundles": rows}))


async def reload(call: Call) -> Reply:
    """Verify what is on disk and take it into use; 409 where it is no good, and what was in use stays."""
    side = _which(call)
    await call.service.reload(side)
    _tell(call, RELOAD, side)
    return Reply(ENCODE({"status": "reloaded", "bundles": _versions(call)}))


async def rollback(call: Call) -> Reply:
    """Return to what answered before."""
    side = _which(call)
    for variant in _variants(call, side):
        call.service.variants.roll_back(variant)
    _tell(call, ROLLBACK, side)
    return Reply(ENCODE({"status": "rolled back", "bundles": _versions(call)}))


def _which(call: Call) -> str:
    which: Which = call.json(_WHICH)
    return which.side


def _variants(call: Call, side: str) -> list[Variant]:
    variants = call.service.variants
    return [variants.named(side)] if side else variants.all


def _tell(call: Call, what: str, side: str) -> None:
    """The other processes of this server."""
    for variant in _variants(call, side):
        call.service.board.add(f"{what}:{variant.side.name}")


def _versions(call: Call) -> dict[str, str]:
    return {variant.side.name: variant.now.version for variant in call.service.variants.all}
