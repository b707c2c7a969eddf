"""A first recipe for tables nobody described: roles, features, split and sizes, each with its reason."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from shortlist.api.preparing import require_own_names
from shortlist.api.sources import read_tables, split_by
from shortlist.data.dataset import Dataset
from shortlist.data.importing import Entities, Events, read_entities, read_events
from shortlist.data.reading import describe_source
from shortlist.data.roles import CANONICAL, NO_COLUMN, Guess
from shortlist.data.splits import Split
from shortlist.errors import DataError
from shortlist.recipes.infer import for_index, infer
from shortlist.specs.recipe import DataSource, Goal, Recipe, Serving, SplitRule

COLD = 0.5
"""Share of a temporal test's rows that may be of users first seen in it, before another split is proposed."""
_SIGNS = ("|", ";", ",")
_JOINED, _SHORT, _AGAIN = 0.1, 3.0, 2.0
"""A column of lists in texts: at least this share of its values holds the sign, its parts have at most so
many words on average, and each part is met in so many different texts."""


@dataclass(frozen=True)
class Line:
    """What was made of one column: `what` it is (a role, a feature, or "left out"), why, and which other
    columns could have been it."""

    table: str
    column: str
    what: str
    why: str
    instead: tuple[str, ...] = ()


@dataclass(frozen=True)
class Start:
    """A proposed recipe, its lines (one a column), why its split and sizes are as they are, notes of the
    reading, and a user it will know."""

    recipe: Recipe
    lines: tuple[Line, ...]
    split_reason: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    user: str


@dataclass(frozen=True)
class Given:
    """What was said beforehand: columns by role (None: to be guessed; "": none), and the rest of a source.
    name: a file the recipe is called after (None: the table's)."""

    named: Mapping[str, str | None]
    goal: Goal | None = None
    rule: str = ""
    time_unit: str = ""
    delimiter: str = ""
    user_key: str | None = None
    item_key: str | None = None
    name: Path | None = None


def start(interactions: Path, users: Path | None, items: Path | None, given: Given) -> Start:
    """A recipe for these files that says everything it relies on.

    Reads the tables as the recipe will, so that what is returned can be trained. Raises DataError where they
    cannot be read, where a role is not to be found or could be played by several columns, where a column has
    the name of what the model makes of past events, and where the goal is "rating" and there are none.
    """
    events = read_events(
        str(interactions), given.named, time_unit=given.time_unit, delimiter=given.delimiter, guess=True
    )
    sides = {
        side: read_entities(str(path), side, events, key=key, delimiter=given.delimiter)
        for side, path, key in (("user", users, given.user_key), ("item", items, given.item_key))
        if path is not None
    }
    source = _source(interactions, users, items, events, sides, given)
    data = read_tables(source)
    rule, why = split_of(data, given.rule)
    goal: Goal = given.goal or ("two-stage" if _is_rated(data) else "retrieval")
    name = _name_of(given.name or interactions)
    split = split_by(rule, data)
    found = infer(split, goal)
    require_own_names(found.model, split)
    model, suited = for_index(found.model, Serving(), split.items.height)
    recipe = Recipe(data=source, model=model, name=name, split=rule, training=found.training)
    reasons = _by_column(found.reasons, data)
    lines = (*_roles(events, sides, source), *_features(reasons, source))
    plain = tuple(reason for reason in found.reasons if reason not in reasons.values())
    notes = (*events.notes, *(note for side in sides.values() for note in side.notes), *_doubts(source, data))
    user = str(data.interactions["user_id"].mode().sort()[0])
    return Start(
        recipe, lines, why, (f"goal: {_goal(goal, data, given, events)}", *plain, *suited), notes, user
    )


def split_of(data: Dataset, wanted: str = "") -> tuple[SplitRule, str]:
    """A division of the rows, and why it is that."""
    if wanted:
        return SplitRule(rule=wanted), "as you said"
    chance = _possible(data, "random=80%")
    if chance is None:
        raise DataError(
            f"{data.interactions.height} rows are too few to learn from and to test on",
            hint="give more rows of what people did",
        )
    times = data.interactions["timestamp"].n_unique() if "timestamp" in data.interactions.columns else 0
    if times < 2:
        return chance[0], "there are no times to divide by"
    later = _possible(data, "time=80%")
    if later is None:
        return chance[0], "too few different times to divide by"
    cold = later[1].refit().describe()["test_rows_of_unseen_users"] / later[1].test.height
    told = f"{cold:.0%} of the last fifth's rows are of users first seen in it"
    if cold <= COLD:
        return later[0], f"what comes later is what is recommended for; {told}"
    last = _possible(data, "hold_last=1")
    if last is None:
        return later[0], f"what comes later is what is recommended for, although {told}"
    return last[0], f"each user's last row; not time=80%, because {told}"


def separator(column: pl.Series) -> str:
    """The sign that divides the texts of a column into values that repeat ("Drama|Crime"), or ""."""
    given = column.drop_nulls() if column.dtype == pl.String else pl.Series([], dtype=pl.String)
    for sign in _SIGNS:
        joined = given.str.contains(sign, literal=True)
        if not len(given) or float(joined.mean() or 0) < _JOINED:  # type: ignore[arg-type]
            continue
        parts = given.unique().str.split(sign).explode().str.strip_chars().drop_nulls()
        words = float(parts.str.count_matches(r"\w+").mean() or 0)  # type: ignore[arg-type]
        if words <= _SHORT and len(parts) >= _AGAIN * parts.n_unique():
            return sign
    return ""


def _source(
    interactions: Path,
    users: Path | None,
    items: Path | None,
    events: Events,
    sides: Mapping[str, Entities],
    given: Given,
) -> DataSource:
    roles = events.guessed
    assert roles is not None
    played = {role: roles.column(role) or "" for role in CANONICAL}
    event = roles.column("event")
    keys = {side: found.key for side, found in sides.items() if found.key != played[side]}
    tables = [events.rows, *(side.table for side in sides.values())]
    lists = {c.name: sign for t in tables for c in t.iter_columns() if (sign := _separator_of(c))}
    return DataSource(
        interactions=str(interactions),
        users=str(users or ""),
        items=str(items or ""),
        **played,
        event_weights=dict(roles.event_weights) if event else {},
        time_unit=given.time_unit or roles.time_unit,
        user_key=keys.get("user", ""),
        item_key=keys.get("item", ""),
        lists=lists,
        delimiter=given.delimiter,
    )


def _separator_of(column: pl.Series) -> str:
    return "" if column.name in ("", "user_id", "item_id") else separator(column)


def _possible(data: Dataset, rule: str) -> tuple[SplitRule, Split] | None:
    """The rule and its split, without validation rows where there are too few for them; None where a part
    would be empty even so."""
    for validation in (0.1, 0.0):
        wanted = SplitRule(rule=rule, validation=validation)
        try:
            return wanted, split_by(wanted, data)
        except DataError:
            continue
    return None


def _is_rated(data: Dataset) -> bool:
    return "rating" in data.interactions.columns and data.interactions["rating"].n_unique() > 1


def _goal(goal: Goal, data: Dataset, given: Given, events: Events) -> str:
    if given.goal:
        return f"{goal}, as you said"
    if _is_rated(data):
        return "two-stage: items are retrieved, then ordered with predicted ratings too; or retrieval, rating"
    if "rating" in data.interactions.columns:
        return "retrieval: there are no ratings that differ"
    told = "retrieval: no column was taken for ratings"
    if given.named.get("rating") == NO_COLUMN or events.guessed is None:
        return told
    perhaps = [guess.column for guess in events.guessed.guesses if guess.perhaps == "rating"]
    options = " or ".join(f"--rating {shlex.quote(name)}" for name in perhaps)
    return f"{told} ({options}, if these are ratings)" if perhaps else told


def _name_of(path: Path) -> str:
    """The file's name without its endings, as a folder of a run may be called."""
    return re.sub(r"[^\w-]+", "-", path.name.split(".")[0] or path.stem).strip("-") or "first"


def _roles(events: Events, sides: Mapping[str, Entities], source: DataSource) -> list[Line]:
    assert events.guessed is not None
    place = describe_source(source.interactions)
    lines = [
        Line(place, guess.column, guess.role, _weighed(guess, source), guess.instead)
        for guess in events.guessed.guesses
        if guess.role != "context"
    ]
    paths = {"user": source.users, "item": source.items}
    keys = [(paths[side], found.guessed) for side, found in sides.items() if found.guessed is not None]
    return [*lines, *(Line(path, g.column, f"{g.role}'s id", g.reason, g.instead) for path, g in keys)]


def _weighed(guess: Guess, source: DataSource) -> str:
    if guess.role != "event":
        return guess.reason
    counts = ", ".join(f"{kind} counts {weight:g}" for kind, weight in source.event_weights.items())
    return f"{guess.reason.partition('; types')[0]}; {counts}"


def _doubts(source: DataSource, data: Dataset) -> list[str]:
    """What was read as it stands, and perhaps was not meant so."""
    out = []
    if len(source.event_weights) > 1 and set(source.event_weights.values()) == {1.0}:
        out.append(
            f"no type of event in {source.event!r} is known by name, so each counts 1, refusals too: change"
            " event_weights in the recipe (0 leaves a type's rows out)"
        )
    for frame in (data.interactions, data.users, data.items):
        for column in frame.iter_columns():
            if column.dtype == pl.String and _comma_numbers(column):
                out.append(f"{column.name!r} holds numbers with decimal commas, read as texts: write points")
    return out


def _comma_numbers(column: pl.Series) -> bool:
    given = column.drop_nulls()
    found = given.str.contains(r"^\s*-?[0-9.]*[0-9],[0-9]+\s*$").sum()
    return len(given) > 0 and found > 0.9 * len(given)


def _by_column(reasons: tuple[str, ...], data: Dataset) -> dict[tuple[str, str], str]:
    """The reasons that are of a table's column."""
    tables = {"users": data.users, "items": data.items, "interactions": data.interactions}
    return {
        (table, column): reason
        for table, frame in tables.items()
        for column in frame.columns
        for reason in reasons
        if reason.startswith(f"{table}.{column}: ")
    }


def _features(reasons: Mapping[tuple[str, str], str], source: DataSource) -> list[Line]:
    """What is made of each column without a role."""
    lines = []
    for (table, column), reason in reasons.items():
        what, _, why = reason.removeprefix(f"{table}.{column}: ").partition("; ")
        sign = source.lists.get(column)
        split = f"texts divided at {sign!r}: " if sign else ""
        lines.append(Line(describe_source(getattr(source, table)), column, what, split + why))
    return lines
