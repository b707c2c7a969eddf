"""One thing a user did, and one shortlist a user was shown; and what is wrong with either, if anything is."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from time import time
from typing import NamedTuple

import msgspec

Scalar = str | int | float | bool | None

LONGEST_ID = 512
"""Characters of an id, of a type of events, of a bundle's version."""
MOST_CONTEXT, LONGEST_CONTEXT = 32, 4096
"""Columns of context, and bytes of them as JSON."""
MOST_SHOWN = 1000
"""Items of one impression."""
FARTHEST_SECOND = 100_000_000_000
"""The year 5138; milliseconds pass it from 1973 on."""
AHEAD = 86_400
"""Seconds by which a sender's clock may be ahead of this one."""
COLUMNS = ("user_id", "item_id", "event", "rating", "weight", "timestamp", "event_id")
"""The columns events are exported in, before those of their context."""
TAKEN = frozenset({*COLUMNS, "history", "history_timestamp", "history_rating", "sequence"})
"""Names that no column of context may have."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a user did.

    event_id: of this event alone, chosen by whoever sends it: sent again, it counts once. user_id, item_id:
    any characters. timestamp: seconds since 1970. event: its type ("" if there is but one). rating, weight:
    as in a table of interactions. context: further columns of the row, plain values.
    """

    event_id: str
    user_id: str
    item_id: str
    timestamp: int
    event: str = ""
    rating: float | None = None
    weight: float | None = None
    context: dict[str, Scalar] = {}


class Impression(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a user was shown in answer to one request.

    request_id: of this impression alone; of the server's, what the log calls the request, a dot, and an id
    of its own. items: ids, best first; their positions count from 1. bundle: the
    version that chose them; variant: the side of an experiment. propensity: the probability with which each
    item was shown at its position, one an item, or empty where it is not known. timestamp: seconds since
    1970.
    """

    request_id: str
    user_id: str
    items: tuple[str, ...]
    timestamp: int
    bundle: str = ""
    variant: str = ""
    propensity: tuple[float, ...] = ()


class Fault(NamedTuple):
    """What is wrong with a field."""

    field: str
    why: str


class Refused(ValueError):
    """An event of a batch cannot be kept; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.field}: {fault.why}")
        self.fault = fault


def fault_of(event: Event, now: float | None = None) -> Fault | None:
    """The first thing that is wrong with an event; now: seconds since 1970 (else this machine's clock)."""
    for name in ("event_id", "user_id", "item_id"):
        if why := _fault_of_id(getattr(event, name)):
            return Fault(name, why)
    if event.event and (why := _fault_of_id(event.event)):
        return Fault("event", why)
    if why := _fault_of_time(event.timestamp, time() if now is None else now):
        return Fault("timestamp", why)
    if event.rating is not None and not isfinite(event.rating):
        return Fault("rating", f"expected a finite number, got {event.rating!r}")
    if event.weight is not None and not 0 <= event.weight < float("inf"):
        return Fault("weight", f"expected a finite number of at least 0, got {event.weight!r}")
    return _fault_of_context(event.context) if event.context else None


def fault_of_impression(shown: Impression, now: float | None = None) -> Fault | None:
    """The first thing that is wrong with an impression."""
    for name in ("request_id", "user_id"):
        if why := _fault_of_id(getattr(shown, name)):
            return Fault(name, why)
    for name in ("bundle", "variant"):
        if (text := getattr(shown, name)) and (why := _fault_of_id(text)):
            return Fault(name, why)
    if why := _fault_of_time(shown.timestamp, time() if now is None else now):
        return Fault("timestamp", why)
    if len(shown.items) > MOST_SHOWN:
        return Fault("items", f"expected at most {MOST_SHOWN:,} items, got {len(shown.items):,}")
    for place, item in enumerate(shown.items):
        if why := _fault_of_id(item):
            return Fault(f"items[{place}]", why)
    return _fault_of_propensity(shown.propensity, len(shown.items))


def _fault_of_propensity(given: Sequence[float], num_items: int) -> Fault | None:
    if given and len(given) != num_items:
        return Fault(
            "propensity", f"expected one for each of the {num_items} items, or none, got {len(given)}"
        )
    for place, value in enumerate(given):
        if not 0 < value <= 1:
            return Fault(f"propensity[{place}]", f"expected a probability above 0, up to 1, got {value!r}")
    return None


def _fault_of_id(text: str) -> str:
    if not text:
        return "expected an id, got an empty text"
    if len(text) > LONGEST_ID:
        return f"expected at most {LONGEST_ID} characters, got {len(text):,}"
    return "" if text.isascii() else _fault_of_text(text)


def _fault_of_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"expected text, got half a character ({text[error.start]!a}) at index {error.start}"
    return ""


def _fault_of_time(seconds: int, now: float) -> str:
    if seconds < 0:
        return f"expected seconds since 1970, at least 0, got {seconds}"
    if seconds > FARTHEST_SECOND:
        return f"expected seconds since 1970, got {seconds}: divide milliseconds by 1000"
    if seconds > now + AHEAD:
        return (
            f"{seconds} is {seconds - int(now):,} s ahead of this server's clock, expected at most {AHEAD:,}"
        )
    return ""


def _fault_of_context(context: dict[str, Scalar]) -> Fault | None:
    if len(context) > MOST_CONTEXT:
        return Fault("context", f"expected at most {MOST_CONTEXT} columns, got {len(context)}")
    for name, value in context.items():
        place = f"context.{name}"
        if why := _fault_of_id(name):
            return Fault("context", f"a column's name: {why}")
        if name in TAKEN:
            return Fault(place, "this name is that of another column: choose a different one")
        if isinstance(value, str) and (why := _fault_of_text(value)):
            return Fault(place, why)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            return Fault(place, f"expected a whole number of 64 bits, got {value}")
        if isinstance(value, float) and not isfinite(value):
            return Fault(place, f"expected a finite number, got {value!r}")
    if (size := len(msgspec.json.encode(context))) > LONGEST_CONTEXT:
        return Fault("context", f"expected at most {LONGEST_CONTEXT:,} bytes of JSON, got {size:,}")
    return None
