"""Whether the server lives and is ready, what it counted, and exchanging its bundles."""

from __future__ import annotations

from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from shortlist.bundle import folder_of
from shortlist.errors import ShortlistError
from shortlist.server.about import plain
from shortlist.server.endpoint import Call, Reply
from shortlist.server.problems import Trouble
from shortlist.server.wire import ENCODE


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
    try:
        await call.service.reload(side)
    except ShortlistError as error:
        raise Trouble(409, _without_places(call, str(error)), hint=error.hint) from error
    return await _done(call, side, "reloaded")


async def rollback(call: Call) -> Reply:
    """Return to what answered before; 409 where there is nothing else."""
    side = _which(call)
    await call.service.exchanger.roll_back(side)
    return await _done(call, side, "rolled back")


async def _done(call: Call, side: str, what: str) -> Reply:
    """Said once all processes of this server have it; 202 where one takes too long."""
    late = await call.service.exchanger.settled(side)
    if late:
        what += f", but not yet by {len(late)} of {call.service.settings.workers} workers"
    return Reply(ENCODE({"status": what, "bundles": _versions(call)}), 202 if late else 200)


def _without_places(call: Call, text: str) -> str:
    """Where bundles lie is for the log."""
    for variant in call.service.variants.all:
        for place in {folder_of(variant.side.path), variant.side.path.absolute(), variant.side.path}:
            text = text.replace(f"{place}/", "").replace(
                str(place), f"the bundle of side {variant.side.name!r}"
            )
    return text


def _which(call: Call) -> str:
    which: Which = call.json(_WHICH)
    return which.side


def _versions(call: Call) -> dict[str, str]:
    return {variant.side.name: variant.now.version for variant in call.service.variants.all}
