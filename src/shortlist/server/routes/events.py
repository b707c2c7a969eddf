"""What users did: kept, counted, and part of the next request's history."""

from __future__ import annotations

import msgspec

from shortlist.server.about import rating_scale
from shortlist.server.answers.outcomes import Accepted, Refusal
from shortlist.server.endpoint import Call, Reply
from shortlist.server.events.event import Fault
from shortlist.server.events.reading import read_events
from shortlist.server.problems import Trouble, of_fault
from shortlist.server.wire import MOST_EVENTS

_ANY = msgspec.json.Decoder()


async def events(call: Call) -> Reply[Accepted]:
    """Keep one event, or a batch: {"events": [...]}. The answer comes when they are on disk; an id counts
    once. Of a batch, those that are refused are listed and the others kept; one alone is answered as a
    problem."""
    service = call.service
    if service.writer is None:
        raise Trouble(404, "this server keeps no events", hint="shortlist serve --events FILE")
    given = call.json(_ANY)
    if not isinstance(given, dict):
        raise Trouble(422, "expected an object", pointer="")
    many = "events" in given
    if many and len(given) > 1:
        other = next(name for name in given if name != "events")
        raise Trouble(422, f"with 'events' there is no {other!r} beside them", pointer=f"/{other}")
    batch = given["events"] if many else [given]
    if not isinstance(batch, list) or not 1 <= len(batch) <= MOST_EVENTS:
        raise Trouble(422, f"expected a list of 1 to {MOST_EVENTS:,} events", pointer="/events")
    recommender = service.variants.all[0].now.recommender
    checked = read_events(batch, scale=rating_scale(recommender))
    outcome = checked.outcome(await service.writer.append(checked.events))
    service.board.add("events_accepted", outcome.accepted)
    service.board.add("events_repeated", outcome.repeated)
    service.board.add("events_rejected", len(outcome.rejected))
    if outcome.rejected and not many:
        raise of_fault(Fault(outcome.rejected[0].field, outcome.rejected[0].why))
    rejected = [Refusal(index=one.index, field=one.field, why=one.why) for one in outcome.rejected]
    found = recommender.items.positions([event.item_id for event in checked.events])
    answer = Accepted(accepted=outcome.accepted, repeated=outcome.repeated, rejected=rejected)
    if unknown := int((found < 0).sum()):
        answer.unknown_items = unknown
    return Reply.of(answer)
