"""Whether the server lives and is ready, what it counted, and exchanging its bundles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from shortlist.bundle import folder_of
from shortlist.errors import BundleError, ShortlistError
from shortlist.server.about import in_brief
from shortlist.server.answers.bundles import Bundles
from shortlist.server.answers.outcomes import Live, Versions
from shortlist.server.endpoint import Call, Reply
from shortlist.server.problems import Trouble
from shortlist.server.settings import Side

_ELSEWHERE = re.compile(r"(?<![\w.:/-])/(?:[^\s'\",;:()]*/)?([^\s/'\",;:()]+)/?")  # an absolute path


class Which(msgspec.Struct, forbid_unknown_fields=True):
    """A side of an experiment; left out: all of them."""

    side: str = ""


_WHICH: msgspec.json.Decoder[Which] = msgspec.json.Decoder(Which)


async def live(call: Call) -> Reply[Live]:
    """The process answers."""
    return Reply.of(Live(status="live"))


async def ready(call: Call) -> Reply[Versions]:
    """Bundles are loaded and have answered; nobody has asked the server to stop."""
    if call.service.draining:
        raise Trouble(503, "the server is stopping", retry_after=5)
    return Reply.of(_versions(call, "ready"))


async def metrics(call: Call) -> Reply[str]:
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


async def bundles(call: Call) -> Reply[Bundles]:
    """What answers: sides, shares, versions, since when, what was there before."""
    return Reply.of(Bundles(bundles=[in_brief(variant) for variant in call.service.variants.all]))


async def reload(call: Call) -> Reply[Versions]:
    """Verify what is on disk and take it into use; 409 where it is no good, and what was in use stays."""
    side = call.json(_WHICH).side
    with _refusing(call, ShortlistError):
        await call.service.reload(side)
    return await _done(call, side, "reloaded")


async def rollback(call: Call) -> Reply[Versions]:
    """Return to what answered before; 409 where there is nothing else."""
    side = call.json(_WHICH).side
    with _refusing(call, BundleError):
        await call.service.exchanger.roll_back(side)
    return await _done(call, side, "rolled back")


async def _done(call: Call, side: str, what: str) -> Reply[Versions]:
    """Said once all processes of this server have it; 202 where one takes too long."""
    late = await call.service.exchanger.settled(side)
    if late:
        what += f", but not yet by {len(late)} of {call.service.settings.workers} workers"
    return Reply.of(_versions(call, what), 202 if late else 200)


@contextmanager
def _refusing(call: Call, kind: type[ShortlistError]) -> Iterator[None]:
    """A bundle that cannot be taken into use as a conflict; where bundles lie is for the log."""
    try:
        yield
    except kind as error:
        sides = call.service.variants.all
        said, hint = (without_places(text, [one.side for one in sides]) for text in (str(error), error.hint))
        raise Trouble(409, said, hint=hint) from error


def without_places(text: str, sides: Sequence[Side]) -> str:
    """A text in which files of bundles have the names they have inside, and others their last name alone."""
    names = {str(place): side.name for side in sides for place in _places(side.path)}
    for place in sorted(names, key=len, reverse=True):  # one may be the end, or the beginning, of another
        start = rf"(?<![\w./-]){re.escape(place)}"
        text = re.sub(f"{start}/(?=[^\\s/])", "", text)
        if "/" in place:  # else it may be any word
            text = re.sub(rf"{start}(?![\w-])", f"the bundle of side {names[place]!r}", text)
    return _ELSEWHERE.sub(r"\1", text)


def _places(path: Path) -> tuple[Path, ...]:
    """What a bundle's folder may be called by."""
    return folder_of(path), path.resolve(), path.absolute(), path, path.absolute() / "bundle", path / "bundle"


def _versions(call: Call, status: str) -> Versions:
    sides = call.service.variants.all
    return Versions(status=status, bundles={one.side.name: one.now.version for one in sides})
