"""What a recommender knows of a user and what the user did since, as one history: events count at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from shortlist._typing import Array, Floats, Ints, Longs
from shortlist.features.log import Log
from shortlist.pipeline.histories import Past
from shortlist.server.events.recent import Act, Recent

if TYPE_CHECKING:
    from shortlist.pipeline.recommender import Recommender

_NONE = np.zeros(0, np.int32)


@dataclass(frozen=True, eq=False)
class History:
    """A user's whole past. ids: of the catalogue. What it has as lists has the latest first: positions int32
    [n] in the catalogue, their ids, seconds since 1970 (None where training had no times) and ratings (None
    where the model reads none; in the list, of an event since that has none)."""

    past: Past
    ids: Array = field(repr=False)

    def __len__(self) -> int:
        return len(self.past)

    @cached_property
    def positions(self) -> Ints:
        return self.past.items[::-1]

    @cached_property
    def item_ids(self) -> list[str]:
        found: list[str] = self.ids[self.positions].tolist()
        return found

    @cached_property
    def timestamps(self) -> list[int] | None:
        return None if self.past.times is None else self.past.times[::-1].tolist()

    @cached_property
    def ratings(self) -> list[float | None] | None:
        if self.past.ratings is None:
            return None
        return [None if rating != rating else rating for rating in self.past.ratings[::-1].tolist()]

    def before(self, timestamp: int) -> History:
        """What of it is earlier than a time; all of it where there are no times."""
        earlier = self.past.before(timestamp)
        return self if earlier is self.past else History(earlier, self.ids)

    def request(self) -> dict[str, list[str] | list[int] | list[float | None]]:
        """The columns of a request that tell it."""
        told: dict[str, list[str] | list[int] | list[float | None]] = {"history": self.item_ids}
        if self.timestamps is not None:
            told["history_timestamp"] = self.timestamps
        if self.ratings is not None:
            told["history_rating"] = self.ratings
        return told


@dataclass(eq=False, slots=True)
class _Known:
    """What was made of a user's events. acts: the very tuple it was made of; index: the user's row in
    training, -1 for none; seen: what was had there and since. told: made when it is asked for, of the first
    `done` events; -1: never yet."""

    acts: tuple[Act, ...]
    index: int
    seen: Ints
    told: History | None = None
    done: int = -1


@dataclass(eq=False)
class Overlay:
    """One recommender over what users did since; `Recent` may be shared by several.

    ignored: types of events that say nothing of what a user has or likes (as those that count 0 in
    training); so does an event of weight 0, and one of an item that is not in the catalogue. most: users
    whose histories are held ready.
    """

    recent: Recent
    recommender: Recommender
    ignored: Collection[str] = ()
    most: int = 20_000
    _made: OrderedDict[str, _Known] = field(default_factory=OrderedDict, init=False, repr=False)

    def refresh(self) -> bool:
        """Take in what was written since; `told` and `seen` do not look by themselves."""
        return self.recent.refresh()

    def told(self, user_id: str, before: int | None = None) -> History | None:
        """The history to tell in a user's request, the bundle's own past and later events merged; before: the
        request's time, if it has one: only earlier events are told.

        None where there is nothing to tell: no events since (the recommender then reads the user's own past
        itself), or a model that reads no history. Events the bundle learned from count once.
        """
        if self.recommender.users.past is None:
            return None
        known = self._known(user_id)
        if known.done < len(known.acts):
            known.told, known.done = self._tell(known), len(known.acts)
        told = known.told
        return told if told is None or before is None else told.before(before)

    def seen(self, user_id: str) -> Ints:
        """Catalogue positions of all a user has had, ascending: in training and since."""
        return self._known(user_id).seen

    def counts(self, act: Act) -> bool:
        """Whether an event says something of what a user has or likes."""
        return act.event not in self.ignored and act.weight != 0

    def _known(self, user_id: str) -> _Known:
        acts = self.recent.of(user_id)
        found = self._made.get(user_id)
        if found is not None and found.acts is acts:
            return found
        known = self._make(user_id, acts, found)
        self._made[user_id] = known
        while len(self._made) > self.most:
            try:
                self._made.popitem(last=False)
            except KeyError:  # another thread was quicker
                break
        return known

    def _make(self, user_id: str, acts: tuple[Act, ...], before: _Known | None) -> _Known:
        """What events make of a user; where there are only more of them than before, of these alone."""
        if before is None or not _goes_on(before.acts, acts):
            users = self.recommender.users
            index = int(users.indices([user_id])[0])
            before = _Known((), index, users.seen.of(index))
        _, positions = self._counting(acts[len(before.acts) :])
        return _Known(acts, before.index, _joined(before.seen, positions), before.told, before.done)

    def _counting(self, acts: tuple[Act, ...]) -> tuple[list[Act], Ints]:
        """The events that say something of what a user has or likes, and where their items stand."""
        kept = [act for act in acts if self.counts(act)]
        if not kept:
            return kept, _NONE
        found = self.recommender.items.positions([act.item_id for act in kept])
        kept = [act for act, position in zip(kept, found.tolist(), strict=True) if position >= 0]
        return kept, found[found >= 0].astype(np.int32)

    def _tell(self, known: _Known) -> History | None:
        """What is told of a user; where there are only later events than before, these after the others."""
        if known.told is not None:
            kept, positions = self._counting(known.acts[known.done :])
            if not kept:
                return known.told
            if (longer := self._longer(known.told, kept, positions)) is not None:
                return longer
        kept, positions = self._counting(known.acts)
        return self._merged(known.index, kept, positions) if kept else None

    def _longer(self, told: History, acts: list[Act], positions: Ints) -> History | None:
        """A history and events, where all of these are later; else None."""
        before, times = told.past, np.array([act.timestamp for act in acts], np.int64)
        if before.times is None or not len(before) or times.min() <= before.times[-1]:
            return None
        order, ratings = np.argsort(times, kind="stable"), self._ratings(acts)
        values = None
        if before.ratings is not None and ratings is not None:
            values = np.concatenate([before.ratings, ratings[order]])
        items = np.concatenate([before.items, positions[order]])
        return History(Past(items, np.concatenate([before.times, times[order]]), values), told.ids)

    def _merged(self, index: int, acts: list[Act], positions: Ints) -> History | None:
        past = self.recommender.users.past
        if past is None:
            return None
        own = _of(past.log, index)
        times = np.array([act.timestamp for act in acts], np.int64)
        ratings = self._ratings(acts)
        if past.timed:
            fresh = _unknown(own, positions, times)
            positions, times = positions[fresh], times[fresh]
            ratings = None if ratings is None else ratings[fresh]
        items = np.concatenate([own.items, positions])
        clock = np.concatenate([own.times, times])
        # of one second, the last kept is the latest
        order = np.argsort(clock, kind="stable") if past.timed else np.arange(len(items))
        values = None
        if ratings is not None and own.ratings is not None:
            values = np.concatenate([own.ratings, ratings])[order]
        merged = Past(items[order].astype(np.int32), clock[order] if past.timed else None, values)
        return History(merged, self.recommender.items.ids)

    def _ratings(self, acts: list[Act]) -> Floats | None:
        """Ratings of the events on the scale of training, NaN where an event has none, which the model then
        takes at par, so that it says nothing of the user's taste. None where the model reads none."""
        past = self.recommender.users.past
        if past is None or past.scale is None:
            return None
        given = np.array([np.nan if act.rating is None else act.rating for act in acts], np.float32)
        least, most = past.scale
        return np.maximum(np.minimum(given, most), least).astype(np.float32)


def _goes_on(before: tuple[Act, ...], now: tuple[Act, ...]) -> bool:
    """Whether events are those of before and more: the same objects, whose order never changes."""
    if not before:
        return True
    return len(now) > len(before) and now[0] is before[0] and now[len(before) - 1] is before[-1]


def _joined(ordered: Ints, values: Ints) -> Ints:
    """Both, ascending, each once; several times faster than np.union1d on short ones."""
    if not len(values):
        return ordered
    both = np.concatenate([ordered, values])
    both.sort()
    kept = np.ones(len(both), np.bool_)
    np.not_equal(both[1:], both[:-1], out=kept[1:])
    return both[kept]


def _of(log: Log, user: int) -> Log:
    """One user's part of a log; empty for a user it does not know."""
    start, stop = (int(log.indptr[user]), int(log.indptr[user + 1])) if user >= 0 else (0, 0)
    ratings = None if log.ratings is None else log.ratings[start:stop]
    return Log(np.array([0, stop - start]), log.items[start:stop], log.times[start:stop], ratings)


def _unknown(log: Log, positions: Ints, times: Longs) -> Longs:
    """Which events one user's log does not hold: no event of that item in that second."""
    if not len(log) or not len(times) or times.min() > log.times[-1]:
        return np.arange(len(times))
    known = set(zip(log.items.tolist(), log.times.tolist(), strict=True))
    pairs = zip(positions.tolist(), times.tolist(), strict=True)
    return np.array([k for k, pair in enumerate(pairs) if pair not in known], np.int64)
