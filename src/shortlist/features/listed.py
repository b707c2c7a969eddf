"""Aggregates of the candidates of queries, as `Ready.values` has them, at a fraction of the price. NumPy
only.

Serving asks for b queries with k candidates each, none of them an event of the log. What depends on the user
alone is made once a query and kept, with what the user's events make of every kind of item; what depends on
the item's events alone is tabled by how many of them are earlier; a pair is a few look-ups. Figures that have
no such form are `rest`, which is made as ever."""

from __future__ import annotations

from collections.abc import Sequence
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
from shortlist.features.persons import (
    Face,
    Owns,
    Person,
    Stories,
    heights,
    pooled,
    pooled_key,
    standing,
)
from shortlist.features.tastes import Story, Taste, Tastes, tastes
from shortlist.specs.aggregates import ACTIVITY, ITEM, POPULARITY, USER, Affinity, Aggregate, Context

HELD = 1 << 23
"""Numbers of what is kept of users."""


class Asker(NamedTuple):
    """Whose list it is. key: the same of the same story and face only; these are made where nothing is
    kept."""

    key: Any
    story: Any
    face: Any


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
    _persons: Kept[Person] = field(default_factory=lambda: Kept(HELD), repr=False)
    _tastes: Kept[Taste] = field(default_factory=lambda: Kept(HELD), repr=False)

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
        states = [_of(scale, column)(crowd.by_state(spec)) for column, spec in parts.state]
        fixed = [
            _of(scale, column)(column_values(spec, ground.item_table.columns)[_rows(ready)])
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
        people = [self._person(*both) for both in zip(askers, times.tolist(), strict=True)]
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
            out[:, :, column] = _of(self.scale, column)(self.crowd.over(spec, start, stop))

    def _put_asked(self, out: Floats, found: Found, people: list[Person]) -> None:
        for place, (column, spec) in enumerate(self.sorted.asked):
            scaled = _of(self.scale, column)
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

    def _person(self, asker: Asker, time: int) -> Person:
        kept = self._persons.get((asker.key, time))
        if kept is not None:
            return kept
        story: Story = asker.story(time)
        key = (asker.key, len(story.items))
        taste = self._tastes.get(key)
        if taste is None:
            taste = self.tastes.of(story)
            self._tastes.put(key, taste, taste.size)
        person = self._made(story, asker.face(), taste, time)
        return self._persons.put((asker.key, time), person, person.size)

    def _made(self, story: Story, face: Face, taste: Taste, time: int) -> Person:
        ground, parts = self.ready.everyone, self.sorted
        figures = np.full(self.ready.aggregates.width, np.nan)
        figures[self.owns.columns] = self.owns.figures(story, time)
        for column, spec in parts.pooled:
            figures[column] = pooled(spec, ground, pooled_key(spec, story), time)[0]
        for column, context in parts.standing:
            own = context.what == "column"
            figures[column] = face.number(context) if own else standing(context, story, time)
        levels = self.tastes.num_levels
        high = [_of(self.scale, c)(heights(spec, ground, levels, time)) for c, spec in parts.heights]
        return Person(
            self.scale(figures),
            np.stack(high, 1) if high else np.zeros((levels, 0), np.float32),
            taste,
            tuple(face.asking(spec, ground) for _, spec in parts.asked),
        )


def _put(out: Floats, named: Sequence[tuple[int, Any]], values: Floats) -> None:
    """Columns of values [b * k, m] in their places."""
    for place, (column, _) in enumerate(named):
        out[:, :, column] = values[:, place].reshape(out.shape[:2])


def _looked_up(tables: list[Floats], at: Longs) -> Floats:
    """Rows of many users' tables, one under the other: [b * k, m]."""
    joined = tables[0] if len(tables) == 1 else np.concatenate(tables)
    return joined.take(at.reshape(-1), axis=0)


def _of(scale: Scale, column: int) -> Scale:
    return Scale(float(np.asarray(scale.centre)[column]), float(np.asarray(scale.scale)[column]), scale.limit)


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
