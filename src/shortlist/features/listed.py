"""Aggregates of the candidates of queries, as `Ready.values` has them, at a fraction of the price. NumPy
only.

Serving asks for b queries with k candidates each, none of them an event of the log. What depends on the user
alone is made once a query and kept, with what the user's events make of every kind of item; what depends on
the item's events alone is tabled by how many of them are earlier; a pair is a few look-ups. Figures that have
no such form are `rest`, which is made as ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from shortlist._typing import Floats, Longs
from shortlist.features.aggregates import LIMIT, Ready
from shortlist.features.crowds import Crowd, Found, Scale, user_columns
from shortlist.features.figures import column_values
from shortlist.features.ground import Key
from shortlist.features.kept import Kept
from shortlist.features.keys import level
from shortlist.features.log import Log
from shortlist.features.persons import (
    Face,
    Looks,
    Owns,
    Person,
    Stories,
    heights,
    pooled,
    pooled_key,
    standing,
)
from shortlist.features.tastes import Story, Tales, Taste, Tastes, tastes
from shortlist.specs.aggregates import ACTIVITY, ITEM, POPULARITY, USER, Affinity, Aggregate, Context

PERSONS = 1 << 21
"""Numbers of what is kept of users at a time, who are asked for again where candidates are others."""
HELD = 1 << 23
"""Numbers of what users' events make of items, to which later events are added."""
FACES = 1 << 20
"""The same of what they are like."""


class Asker(NamedTuple):
    """Whose list it is. key: the same of the same story and face only; user: of the log, -1: none. log: makes
    the log of what is told; None: the user's own is read. face: makes what the user is like. Both are asked
    where nothing is kept."""

    key: Any
    user: int
    log: Callable[[], Log] | None
    face: Callable[[], Face]


class Sorted(NamedTuple):
    """The columns of figures and their specs, by what they depend on."""

    own: list[tuple[int, Aggregate]]
    pooled: list[tuple[int, Aggregate]]
    standing: list[tuple[int, Context]]
    heights: list[tuple[int, Aggregate]]
    taste: list[tuple[int, Any]]
    state: list[tuple[int, Aggregate]]
    window: list[tuple[int, Aggregate]]
    asked: list[tuple[int, Any]]
    fixed: list[tuple[int, Context]]
    rest: list[tuple[int, Any]]


@dataclass(frozen=True, eq=False)
class Listed:
    """The figures of lists over a log, all but those of `rest`, whose columns are left 0."""

    ready: Ready
    crowd: Crowd
    stories: Stories
    sorted: Sorted
    owns: Owns
    tastes: Tastes
    scale: Scale
    states: Floats
    fixed: Floats
    rest: Ready | None
    _persons: Kept[Person] = field(default_factory=lambda: Kept(PERSONS), repr=False)
    _tastes: Kept[tuple[Any, Taste]] = field(default_factory=lambda: Kept(HELD), repr=False)
    _faces: Kept[Looks] = field(default_factory=lambda: Kept(FACES), repr=False)

    @classmethod
    def of(cls, ready: Ready) -> Listed | None:
        """None where nothing would be gained."""
        ground, fitted = ready.everyone, ready.aggregates
        crowd = None if ready.mine is not ground else Crowd.of(ground)
        if crowd is None:
            return None
        scale = Scale(np.array(fitted.centre), np.array(fitted.scale), LIMIT)
        parts = sort(ready)
        most = int(np.diff(crowd.places.first).max(initial=0))
        made, too_many = tastes(parts.taste, ground, most, scale)
        moved = [(column, spec) for column, spec in parts.taste if column in too_many]
        parts = parts._replace(rest=[*parts.rest, *moved])
        if 2 * len(parts.rest) > fitted.width:
            return None
        states = [scale.of(column)(crowd.by_state(spec)) for column, spec in parts.state]
        fixed = [
            scale.of(column)(column_values(spec, ground.item_table.columns)[_rows(ready)])
            for column, spec in parts.fixed
        ]
        return cls(
            ready,
            crowd,
            Stories.of(ground, crowd),
            parts,
            Owns.of(parts.own),
            made,
            scale,
            np.stack(states, 1) if states else np.zeros((crowd.places.num_states, 0), np.float32),
            np.stack(fixed, 1) if fixed else np.zeros((ground.num_items + 1, 0), np.float32),
            _only(ready, [column for column, _ in parts.rest]),
        )

    def values(self, askers: Sequence[Asker], times: Longs, items: Longs) -> Floats:
        """Standardised figures float32 [b, k, width]. times int64 [b], items int64 [b, k]: positions."""
        found = self.crowd.places.find(items, times)
        people = self._people(askers, times.tolist())
        out = np.repeat(np.stack([p.figures for p in people]), items.shape[1], axis=0)
        out = out.reshape(*items.shape, -1)
        self._put_states(out, found)
        self._put_windows(out, found, times)
        self._put_asked(out, found, people)
        self._put_tastes(out, found, people)
        return out

    def _put_states(self, out: Floats, found: Found) -> None:
        for table, at, named in (
            (self.states, found.state, self.sorted.state),
            (self.fixed, found.item, self.sorted.fixed),
        ):
            _put(out, named, table.take(at.reshape(-1), axis=0) if named else table)

    def _put_windows(self, out: Floats, found: Found, times: Longs) -> None:
        for column, spec in self.sorted.window:
            start, stop = self.crowd.spans(found, times, spec.window)
            out[:, :, column] = self.scale.of(column)(self.crowd.over(spec, start, stop))

    def _put_asked(self, out: Floats, found: Found, people: list[Person]) -> None:
        for place, (column, spec) in enumerate(self.sorted.asked):
            scaled = self.scale.of(column)
            for row, person in enumerate(people):
                table = self.crowd.asked(column, spec, person.asking[place], scaled)
                table.take(found.state[row], out=out[row, :, column])

    def _put_tastes(self, out: Floats, found: Found, people: list[Person]) -> None:
        row = np.arange(len(people))[:, None]
        parts = self.tastes
        if parts.keyed:
            at = row * parts.num_kinds + parts.kinds[found.item]
            _put(out, parts.keyed, _looked_up([p.taste.kinds for p in people], at))
        if parts.counted:
            at = row * parts.num_counts + found.earlier
            _put(out, parts.counted, _looked_up([p.taste.counts for p in people], at))
        if parts.levelled or self.sorted.heights:
            at = row * parts.num_levels + level(found.earlier)
            _put(out, parts.levelled, _looked_up([p.taste.levels for p in people], at))
            _put(out, self.sorted.heights, _looked_up([p.heights for p in people], at))

    # Users

    def _people(self, askers: Sequence[Asker], times: list[int]) -> list[Person]:
        keys = [(asker.key, time) for asker, time in zip(askers, times, strict=True)]
        found: dict[Any, Person] = {}
        new: dict[Any, Asker] = {}
        for key, asker in zip(keys, askers, strict=True):
            if (kept := self._persons.get(key)) is not None:
                found[key] = kept
            else:
                new[key] = asker
        if new:
            made = self._made(list(new.values()), [time for _, time in new])
            for key, person in zip(new, made, strict=True):
                found[key] = self._persons.put(key, person, person.size)
        return [found[key] for key in keys]

    def _made(self, askers: list[Asker], times: list[int]) -> list[Person]:
        """People of whom nothing is kept, all at once."""
        ground, parts, clock = self.ready.everyone, self.sorted, np.array(times, np.int64)
        stories = self._stories(askers, times)
        tales = Tales.of(stories)
        tastes = self._tasted(askers, stories)
        looks = [self._looks(asker.face()) for asker in askers]
        figures = np.full((len(askers), self.ready.aggregates.width), np.nan)
        if len(self.owns.columns):
            figures[:, self.owns.columns] = self.owns.figures(tales, clock)
        for column, spec in parts.pooled:
            figures[:, column] = pooled(spec, ground, pooled_key(spec, tales), clock)
        for column, context in parts.standing:
            if context.what != "column":
                figures[:, column] = standing(context, tales, clock)
        columns = [column for column, context in parts.standing if context.what == "column"]
        figures[:, columns] = [look.numbers for look in looks]
        levels = self.tastes.num_levels
        high = np.empty((len(askers), levels, len(parts.heights)), np.float32)
        for place, (column, spec) in enumerate(parts.heights):
            high[:, :, place] = self.scale.of(column)(heights(spec, ground, levels, clock))
        each = zip(self.scale(figures), high, tastes, looks, strict=True)
        return [Person(own.copy(), tall.copy(), taste, look.asking) for own, tall, taste, look in each]

    def _stories(self, askers: list[Asker], times: list[int]) -> list[Story]:
        logs = {n: asker.log() for n, asker in enumerate(askers) if asker.log is not None}
        told: list[Story] = []
        if logs:
            told = self.stories.told(
                list(logs.values()), self.ready.aggregates.mean, [times[n] for n in logs]
            )
        own = dict(zip(logs, told, strict=True))
        each = enumerate(zip(askers, times, strict=True))
        return [own[n] if n in own else self.stories.known(asker.user, time) for n, (asker, time) in each]

    def _tasted(self, askers: list[Asker], stories: list[Story]) -> list[Taste]:
        """The last taste of a user is kept; what the user did since is added to it."""
        keys = [(asker.key, len(story.items)) for asker, story in zip(askers, stories, strict=True)]
        found: dict[Any, Taste] = {}
        new: dict[Any, tuple[Any, Story, Taste | None]] = {}
        for asker, story, key in zip(askers, stories, keys, strict=True):
            slot = asker.user if asker.user >= 0 else key
            known, taste = self._tastes.get(slot) or (None, None)
            if taste is not None and known == key:
                found[key] = taste
            else:
                new[key] = slot, story, taste if taste is not None and taste.leads_to(story) else None
        if new:
            slots, own, before = zip(*new.values(), strict=True)
            for key, slot, taste in zip(new, slots, self.tastes.of(own, before), strict=True):
                found[key] = taste
                self._tastes.put(slot, (key, taste), taste.size)
        return [found[key] for key in keys]

    def _looks(self, face: Face) -> Looks:
        ground = self.ready.everyone
        stored = face.columns is ground.user_table.columns
        if stored and (kept := self._faces.get(face.row)) is not None:
            return kept
        contexts = [context for _, context in self.sorted.standing if context.what == "column"]
        made = Looks(
            tuple(face.number(context) for context in contexts),
            tuple(face.asking(spec, ground) for _, spec in self.sorted.asked),
        )
        return self._faces.put(face.row, made, 16 + len(contexts) + len(made.asking)) if stored else made


def _put(out: Floats, named: Sequence[tuple[int, Any]], values: Floats) -> None:
    """Columns of values [b * k, m] in their places."""
    for place, (column, _) in enumerate(named):
        out[:, :, column] = values[:, place].reshape(out.shape[:2])


def _looked_up(tables: list[Floats], at: Longs) -> Floats:
    """Rows of many users' tables, one under the other: [b * k, m]."""
    joined = tables[0] if len(tables) == 1 else np.concatenate(tables)
    return joined.take(at.reshape(-1), axis=0)


def _rows(ready: Ready) -> Longs:
    """Every item's row in the items' table."""
    ground = ready.everyone
    return ground.item_table.rows(np.arange(ground.num_items + 1))


def _only(ready: Ready, columns: list[int]) -> Ready | None:
    """Some of the figures."""
    if not columns:
        return None
    fitted = ready.aggregates
    specs = tuple(fitted.specs[c] for c in columns)
    centre, scale = (tuple(values[c] for c in columns) for values in (fitted.centre, fitted.scale))
    return replace(ready, aggregates=replace(fitted, specs=specs, centre=centre, scale=scale))


def sort(ready: Ready) -> Sorted:
    """What each figure depends on."""
    found = Sorted([], [], [], [], [], [], [], [], [], [])
    for column, spec in enumerate(ready.aggregates.specs):
        getattr(found, _place(spec, ready)).append((column, spec))
    return found


def _place(spec: Any, ready: Ready) -> str:
    if isinstance(spec, Context):
        return _place_of_context(spec, ready)
    if isinstance(spec, Affinity):
        return _place_of_affinity(spec)
    if not isinstance(spec, Aggregate) or spec.as_of != "row":
        return "rest"
    by, ground = set(spec.by), ready.everyone
    plain, all_of_it = not spec.last and not spec.window, ground.log.ratings is not None or not spec.rated
    if not all_of_it or ground.running(Key.of(spec.by, spec.bins, "row")).keys is not None:
        return "rest"
    if by == {USER}:
        return "own"
    if by <= {ACTIVITY}:
        return "pooled"
    if by == {POPULARITY}:
        return "heights"
    if by == {ITEM}:
        return "rest" if spec.last else "window" if spec.window else "state"
    if not plain:
        return "rest"
    if ITEM in by:
        own = user_columns(spec, ground)
        single = all(ground.user_table.codes[at].shape[1] == 1 for at in own)
        return "asked" if len(own) == len(by) - 1 and single else "rest"
    if USER in by:
        theirs = Key.of(tuple(by - {USER}), spec.bins, "row").within(ground.item_table)
        return "taste" if by == {USER, POPULARITY} or len(theirs) == len(by) - 1 else "rest"
    return "rest"


def _place_of_context(spec: Context, ready: Ready) -> str:
    if spec.what == "column":
        return "fixed" if spec.column in ready.everyone.item_table.columns else "standing"
    return "rest" if spec.what == "gap" and spec.as_of != "row" else "standing"


def _place_of_affinity(spec: Affinity) -> str:
    if spec.as_of != "row" or (not spec.tags and not spec.near):
        return "rest"
    if spec.by == USER:
        return "rest" if spec.near == POPULARITY and spec.tags else "taste"
    return "rest" if spec.tags or spec.near == ACTIVITY else "asked"
