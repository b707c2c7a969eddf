"""Events and impressions as rows of a database, and back. `write` and `read` are of texts: what a database
cannot hold as it is, it may hold in another form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from shortlist.server.events.event import Event, Impression

Text = Callable[[str], str]
EVENT = ("event_id", "user_id", "item_id", "event", "rating", "weight", "timestamp", "context")
IMPRESSION = ("request_id", "user_id", "items", "propensity", "bundle", "variant", "timestamp")
"""The columns, in order; rows that are read have their sequence before them."""


def same(text: str) -> str:
    """Of a database whose texts may be anything."""
    return text


def event_row(event: Event, write: Text = same) -> tuple[Any, ...]:
    """The values of EVENT; a context as JSON, None where there is none."""
    e = event
    context = msgspec.json.encode(e.context).decode() if e.context else None
    ids = write(e.event_id), write(e.user_id), write(e.item_id), write(e.event)
    return *ids, e.rating, e.weight, e.timestamp, context


def event_of(row: Sequence[Any], read: Text = same) -> Event:
    """The event of a row."""
    _, event_id, user, item, kind, rating, weight, timestamp, context = row
    return Event(
        event_id=read(event_id),
        user_id=read(user),
        item_id=read(item),
        event=read(kind),
        rating=rating,
        weight=weight,
        timestamp=timestamp,
        context=msgspec.json.decode(context) if context else {},
    )


def impression_row(shown: Impression, write: Text = same) -> tuple[Any, ...]:
    """The values of IMPRESSION; lists as JSON."""
    s = shown
    items = msgspec.json.encode(s.items).decode()
    propensity = msgspec.json.encode(s.propensity).decode() if s.propensity else None
    ends = write(s.bundle), write(s.variant), s.timestamp
    return write(s.request_id), write(s.user_id), items, propensity, *ends


def impression_of(row: Sequence[Any], read: Text = same) -> Impression:
    """The impression of a row."""
    _, request, user, items, propensity, bundle, variant, timestamp = row
    return Impression(
        request_id=read(request),
        user_id=read(user),
        items=msgspec.json.decode(items, type=tuple[str, ...]),
        propensity=msgspec.json.decode(propensity, type=tuple[float, ...]) if propensity else (),
        bundle=read(bundle),
        variant=read(variant),
        timestamp=timestamp,
    )
