"""Events in a caller's own words -> events; a bad one is named by index, field and what was expected."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Any

from shortlist.errors import did_you_mean
from shortlist.server.events.event import (
    Event,
    Fault,
    Impression,
    Refused,
    Scalar,
    fault_of,
    fault_of_impression,
)
from shortlist.server.events.store import Outcome, Rejected, in_batch


@dataclass(frozen=True)
class Checked:
    """A batch as it was read. events: the good ones; places: the index of each; rejected: the rest."""

    events: tuple[Event, ...]
    places: tuple[int, ...]
    rejected: tuple[Rejected, ...]

    def outcome(self, written: Outcome) -> Outcome:
        """What became of the batch, once its good events were written: indices are those of the batch."""
        return in_batch(written, self.places, self.rejected)


def read_events(
    batch: Sequence[Any],
    *,
    now: float | None = None,
    scale: tuple[float, float] | None = None,
    kinds: Collection[str] = (),
) -> Checked:
    """A batch of mappings, as JSON gives them.

    Args:
        batch: mappings with the fields of `Event`; ids may be whole numbers (42 is "42"), a timestamp ISO
        8601
            text (UTC where it names no zone); left out, it is now. An unknown field is refused.
        now: seconds since 1970; else this machine's clock.
        scale: the least and the greatest rating there is; others are refused.
        kinds: the types of events there are; others are refused. Empty: any.
    """
    clock = time() if now is None else now
    events, places, rejected = [], [], []
    for index, raw in enumerate(batch):
        try:
            event = _event(raw, clock)
            if fault := fault_of(event, clock) or _unfit(event, scale, kinds):
                raise Refused(fault)
        except Refused as refused:
            rejected.append(Rejected(index, *refused.fault))
        else:
            events.append(event)
            places.append(index)
    return Checked(tuple(events), tuple(places), tuple(rejected))


def read_impression(raw: Any, *, now: float | None = None) -> Impression:
    """One impression from a mapping with the fields of `Impression`. Raises Refused."""
    clock = time() if now is None else now
    given = _fields(raw, _OF_IMPRESSIONS, ("request_id", "user_id", "items"))
    given.setdefault("timestamp", int(clock))
    shown = Impression(**given)
    if fault := fault_of_impression(shown, clock):
        raise Refused(fault)
    return shown


def _event(raw: Any, now: float) -> Event:
    given = _fields(raw, _OF_EVENTS, ("event_id", "user_id", "item_id"))
    given.setdefault("timestamp", int(now))
    return Event(**given)


def _unfit(event: Event, scale: tuple[float, float] | None, kinds: Collection[str]) -> Fault | None:
    if scale is not None and event.rating is not None and not scale[0] <= event.rating <= scale[1]:
        return Fault("rating", f"expected {scale[0]:g} to {scale[1]:g}, got {event.rating:g}")
    if kinds and event.event not in kinds:
        return Fault("event", f"unknown type {event.event!r}; {did_you_mean(event.event, sorted(kinds))}")
    return None


Read = Callable[[str, Any], Any]


def _fields(raw: Any, readers: Mapping[str, Read], required: Sequence[str]) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise Refused(Fault("", f"expected an object with {', '.join(required)}, got {_shown(raw)}"))
    for name in required:
        if raw.get(name) is None:
            raise Refused(Fault(name, "this field is needed"))
    out = {}
    for name, value in raw.items():
        if name not in readers:
            raise Refused(Fault(str(name), f"no such field; {did_you_mean(str(name), readers)}"))
        if value is not None:
            out[name] = readers[name](name, value)
    return out


def _id(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _wrong(name, "text or a whole number", value)


def _text(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise _wrong(name, "text", value)


def _number(name: str, value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise _wrong(name, "a number", value)


def _time(name: str, value: Any) -> int:
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
            return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() // 1)
        except (ValueError, OverflowError):
            raise _wrong(name, "seconds since 1970, or ISO 8601 text", value) from None
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if whole and not isinstance(value, bool):
        return int(value)
    raise _wrong(name, "whole seconds since 1970, or ISO 8601 text", value)


def _context(name: str, value: Any) -> dict[str, Scalar]:
    if not isinstance(value, Mapping):
        raise _wrong(name, "an object of columns and values", value)
    for key, one in value.items():
        if not isinstance(key, str):
            raise _wrong(name, "names of columns as keys", key)
        if not (one is None or isinstance(one, str | int | float | bool)):
            raise _wrong(f"{name}.{key}", "text, a number, true, false or null", one)
    return dict(value)


def _many(read: Read) -> Read:
    def read_all(name: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise _wrong(name, "a list", value)
        return tuple(read(f"{name}[{place}]", one) for place, one in enumerate(value))

    return read_all


_OF_EVENTS: dict[str, Read] = {
    "event_id": _id,
    "user_id": _id,
    "item_id": _id,
    "event": _text,
    "rating": _number,
    "weight": _number,
    "timestamp": _time,
    "context": _context,
}
_OF_IMPRESSIONS: dict[str, Read] = {
    "request_id": _id,
    "user_id": _id,
    "items": _many(_id),
    "timestamp": _time,
    "bundle": _text,
    "variant": _text,
    "propensity": _many(_number),
}


def _wrong(name: str, wanted: str, value: Any) -> Refused:
    return Refused(Fault(name, f"expected {wanted}, got {_shown(value)}"))


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text[:60]}{'...' if len(text) > 60 else ''} ({type(value).__name__})"
