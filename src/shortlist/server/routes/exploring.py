"""What a person looks at: what a bundle is, how it was judged, a map of its items."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np

from shortlist.features.requests import take_rows
from shortlist.pipeline.slate import plain_values
from shortlist.server.about import has_vectors, in_full
from shortlist.server.answers.bundles import About
from shortlist.server.answers.catalogue import Map
from shortlist.server.answers.judging import Evaluation
from shortlist.server.bundles import Loaded
from shortlist.server.endpoint import Call, Reply
from shortlist.server.judging import evaluation
from shortlist.server.mapping import chosen, vectors_at
from shortlist.server.parameters import Text, Texts, Whole
from shortlist.server.problems import Trouble
from shortlist.server.routes.naming import SIDE, side_of
from shortlist.server.wire import LONGEST_ID, MOST_POINTS

_BY, _POINTS, _WANTED = Text("by", LONGEST_ID), Whole("limit", 2_000, 1, MOST_POINTS), Texts("item", 20)
MAP = (_BY, _POINTS, _WANTED, SIDE)
_JUDGING = (
    "shortlist train of a recipe writes one into the bundle, train --from does not; or: shortlist compare"
)


async def about(call: Call) -> Reply[About]:
    """What each bundle in use reads and predicts, its columns, its limits, its licence."""
    given, keeps_events = call.query(), call.service.writer is not None
    variants = [side_of(call, given)] if SIDE.name in given else call.service.variants.all
    sides = [await asyncio.to_thread(in_full, one, keeps_events=keeps_events) for one in variants]
    return Reply.of(About(sides=sides))


async def judged(call: Call) -> Reply[Evaluation]:
    """How the run that made a bundle judged it: figures beside baselines, slices, curves, the verdict."""
    loaded = side_of(call, call.query()).now
    try:
        found = evaluation(loaded)
    except msgspec.ValidationError as error:
        raise Trouble(404, "this bundle has an evaluation of another form", hint=str(error)) from None
    if found is None:
        raise Trouble(404, "this bundle has no evaluation", hint=_JUDGING)
    return Reply.of(found)


async def chart(call: Call) -> Reply[Map]:
    """A map of the items: their vectors on two axes, with a column to colour them by."""
    given = call.query()
    loaded = side_of(call, given).now
    if not has_vectors(loaded.recommender):
        raise Trouble(404, "this bundle has no vectors of items, so there is no map")
    limit, by = _POINTS.of(given), _BY.of(given)
    if by and by not in loaded.items.shown:
        known = ", ".join(loaded.items.shown)
        raise Trouble(422, f"items have no column {by!r}", pointer="/by", hint=f"known: {known}")
    return Reply.of(await asyncio.to_thread(_chart, loaded, by, limit, _WANTED.of(given)))


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
