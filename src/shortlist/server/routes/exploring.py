"""What a person looks at: what a bundle is, how it was judged, a map of its items."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np

from shortlist.errors import BundleError
from shortlist.features.requests import take_rows
from shortlist.pipeline.slate import plain_values
from shortlist.server.about import about as about_side
from shortlist.server.about import has_vectors
from shortlist.server.answers.bundles import About
from shortlist.server.answers.catalogue import Map
from shortlist.server.answers.judging import Evaluation
from shortlist.server.bundles import Loaded, Variant
from shortlist.server.endpoint import Call, Reply
from shortlist.server.judging import evaluation
from shortlist.server.mapping import chosen, vectors_at
from shortlist.server.problems import Trouble
from shortlist.server.wire import MOST_POINTS

_MOST_WANTED = 20
_JUDGING = (
    "shortlist train of a recipe writes one into the bundle, train --from does not; or: shortlist compare"
)


async def about(call: Call) -> Reply[About]:
    """What each bundle in use reads and predicts, its columns, its limits, its licence."""
    given, keeps_events = call.query("side"), call.service.writer is not None
    variants = [side_of(call, given)] if "side" in given else call.service.variants.all
    sides = [await asyncio.to_thread(about_side, one, keeps_events=keeps_events) for one in variants]
    return Reply.of(About(sides=sides))


async def judged(call: Call) -> Reply[Evaluation]:
    """How the run that made a bundle judged it: figures beside baselines, slices, curves, the verdict."""
    loaded = side_of(call, call.query("side")).now
    try:
        found = evaluation(loaded)
    except msgspec.ValidationError as error:
        raise Trouble(404, "this bundle has an evaluation of another form", hint=str(error)) from None
    if found is None:
        raise Trouble(404, "this bundle has no evaluation", hint=_JUDGING)
    return Reply.of(found)


async def chart(call: Call) -> Reply[Map]:
    """A map of the items: their vectors on two axes, with a column to colour them by."""
    given = call.query("by", "limit", "item", "side")
    loaded = side_of(call, given).now
    if not has_vectors(loaded.recommender):
        raise Trouble(404, "this bundle has no vectors of items, so there is no map")
    limit = number(given, "limit", 2_000, 1, MOST_POINTS)
    by = given.get("by", [""])[0]
    if by and by not in loaded.items.shown:
        known = ", ".join(loaded.items.shown)
        raise Trouble(422, f"items have no column {by!r}", pointer="/by", hint=f"known: {known}")
    wanted = given.get("item", [])
    if len(wanted) > _MOST_WANTED:
        raise Trouble(422, f"at most {_MOST_WANTED} items are asked for by id", pointer="/item")
    return Reply.of(await asyncio.to_thread(_chart, loaded, by, limit, wanted))


def _chart(loaded: Loaded, by: str, limit: int, wanted: list[str]) -> Map:
    recommender, items = loaded.recommender, loaded.items
    places = recommender.items.positions(wanted) if wanted else np.zeros(0, np.int64)
    at, every = chosen(recommender, limit, np.unique(places[places >= 0]))
    axes = loaded.axes
    placed = np.round(axes.places(vectors_at(recommender, at)), 4).tolist()
    kinds = {one.name: one.kind for one in loaded.columns.items}
    return Map(
        ids=recommender.items.ids[at].tolist(),
        names=None if items.name is None else plain_values(take_rows(items.columns[items.name], at)),
        x=[x for x, _ in placed],
        y=[y for _, y in placed],
        by=by or None,
        kind=kinds.get(by),
        values=plain_values(take_rows(items.columns[by], at)) if by else None,
        shown=len(at),
        total=recommender.items.num_present,
        variance=[round(share, 4) for share in axes.shares],
        method="principal axes",
        chosen="all" if every else "popular",
        version=loaded.version,
    )


def side_of(call: Call, given: dict[str, list[str]]) -> Variant:
    """The side a request names, else the first. Trouble for one that is not there."""
    variants = call.service.variants
    if "side" not in given:
        return variants.all[0]
    try:
        return variants.named(given["side"][0])
    except BundleError as error:
        raise Trouble(422, str(error), pointer="/side") from None


def number(given: dict[str, list[str]], name: str, default: int, least: int, most: int) -> int:
    """A whole number behind "?". Trouble."""
    text = given.get(name, [str(default)])[0]
    if not text.isascii() or not text.isdigit() or len(text) > 18 or not least <= int(text) <= most:
        raise Trouble(
            422, f"expected a whole number from {least} to {most}, got {text!r}", pointer=f"/{name}"
        )
    return int(text)
