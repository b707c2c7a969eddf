"""Which column plays which role, guessed from names and values, each guess with its reason. Pure.

The order of columns is never looked at. Where two columns fit a role equally well the answer is an error that
shows both and says how to name one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote

import polars as pl

from shortlist.data.spellings import ROLES, event_weight, is_id, is_row_id, points
from shortlist.data.times import DAY, fits, nearly_units_of, parsed, units_of
from shortlist.errors import DataError, did_you_mean

CANONICAL = {"user": "user_id", "item": "item_id"} | {role: role for role in ROLES[2:]}
"""A role's own column name: it is taken by it, whatever its values."""
NO_COLUMN = ""
"""Given in place of a column's name: no column plays the role."""
FEW = 20
"""Distinct values up to which a column is not taken for ids where another has more."""
MOST_EVENTS = 50
_NEEDED = ("user", "item")
_A = {"user": "a user", "item": "an item", "timestamp": "a time", "event": "a type of events"} | {
    role: f"a {role}" for role in ("rating", "weight")
}
_UNITS = {
    "s": "seconds since 1970",
    "ms": "milliseconds since 1970",
    "us": "microseconds since 1970",
    "ns": "nanoseconds since 1970",
    "yyyymmdd": "days as YYYYMMDD",
    "iso": "dates or times",
}


@dataclass(frozen=True)
class Guess:
    """A column's role ("user", "item", "timestamp", "event", "rating", "weight" or "context"), why, which
    other columns could have played it, and whether somebody said so instead of it being guessed. perhaps: of
    a column of context, the role its values would allow ("rating" or "timestamp"), or ""."""

    column: str
    role: str
    reason: str
    instead: tuple[str, ...] = ()
    given: bool = False
    perhaps: str = ""

    @property
    def said(self) -> str:
        """The reason, with what else it could have been."""
        could = f"; it could also be {' or '.join(map(repr, self.instead))}" if self.instead else ""
        return f"{self.reason}{could}"


@dataclass(frozen=True)
class Roles:
    """A guess a column, in the order of the table; the unit of the times ("" where there are none); what each
    type of events counts (empty where there are none)."""

    guesses: tuple[Guess, ...]
    time_unit: str = ""
    event_weights: Mapping[str, float] = field(default_factory=dict)

    def column(self, role: str) -> str | None:
        """The column that plays a role."""
        return next((guess.column for guess in self.guesses if guess.role == role), None)


@dataclass(frozen=True)
class _Facts:
    """What a column's values are. kind: "id" (texts or whole numbers), "number", "flag" or "other"."""

    kind: str
    rows: int
    distinct: int
    span: tuple[float, float] | None
    units: tuple[str, ...]

    @classmethod
    def of(cls, column: pl.Series) -> _Facts:
        dtype, given = column.dtype, column.drop_nulls()
        text = dtype in (pl.String, pl.Categorical, pl.Enum)
        if not (text or dtype.is_numeric() or dtype in (pl.Boolean, pl.Date, pl.Datetime)):
            return cls("other", len(given), 0, None, ())
        kind = "id" if text or dtype.is_integer() else "number" if dtype.is_numeric() else "other"
        kind = "flag" if dtype == pl.Boolean else kind
        low, high = (given.min(), given.max()) if dtype.is_numeric() and len(given) else (None, None)
        span = None if low is None or high is None else (float(low), float(high))  # type: ignore[arg-type]
        return cls(kind, len(given), given.n_unique(), span, tuple(units_of(given)))

    @property
    def said(self) -> str:
        return f"{self.distinct:,} distinct values in {self.rows:,} rows"


def guess_roles(
    frame: pl.DataFrame,
    given: Mapping[str, str | None] | None = None,
    place: str = "the table",
    time_unit: str = "",
) -> Roles:
    """The roles of the columns of a table of interactions.

    given: columns that were named, by role; "" for a role that no column shall play; None or absent to guess.
    time_unit: of the times, where it was stated.
    Raises DataError for a named column that is not there, where no column or several equally likely ones can
    be the user or the item, and where several are equally likely to be another role.
    """
    named = {role: name for role, name in (given or {}).items() if name is not None}
    _require_known(named, frame, place)
    facts = {name: _Facts.of(frame[name]) for name in frame.columns if name}  # "" could not be named
    chosen: dict[str, Guess] = {r: Guess(c, r, "as you said", (), True) for r, c in named.items() if c}
    for role in ROLES:
        if role not in named:
            taken = {guess.column for guess in chosen.values()} | {
                own for other, own in CANONICAL.items() if other != role and other not in named
            }
            found = _by_name(role, {n: f for n, f in facts.items() if n not in taken}, frame, place)
            if found is not None:
                chosen[role] = found
    for role in ROLES:
        if role not in named and role not in chosen:
            taken = {guess.column for guess in chosen.values()}
            free = {n: f for n, f in facts.items() if n not in taken}
            found = _by_values(role, free, frame, place, known=len(chosen.keys() & set(_NEEDED)))
            if found is not None:
                chosen[role] = found
    by_column = {guess.column: guess for guess in chosen.values()}
    guesses = tuple(by_column.get(n) or _context(n, f) for n, f in facts.items())
    unit = time_unit or _unit(chosen, facts, frame, place)
    weights = event_weights(frame[chosen["event"].column]) if "event" in chosen else {}
    return Roles(guesses, unit, weights)


def event_weights(types: pl.Series) -> dict[str, float]:
    """What each type of events is proposed to count, the most frequent first; 1 where its name is unknown."""
    kinds = types.cast(pl.String).drop_nulls().value_counts(sort=True)[types.name].to_list()
    proposed = {kind: event_weight(kind) for kind in kinds}
    return {kind: 1.0 if weight is None else weight for kind, weight in proposed.items()}


def guess_key(
    frame: pl.DataFrame, role: str, ids: pl.Series, *, name: str, given: str | None = None, place: str = ""
) -> Guess:
    """The column of a table of users or items that holds their ids: the one in which most of `ids`, those of
    the interactions, are found, and each value once; where several are, the one named like the id.

    name: the id's column in the interactions. Raises DataError where no column holds any, or several equally.
    """
    if given:
        return Guess(given, role, "as you said", (), True)
    known = ids.unique()
    shares: dict[str, float] = {}
    for column in frame.columns:
        if _Facts.of(frame[column]).kind == "id":
            values = frame[column].cast(pl.String)
            shares[column] = float(known.is_in(values.unique().implode()).mean() or 0)  # type: ignore[arg-type]
    best = {c: s for c, s in shares.items() if s > 0 and s >= 0.9 * max(shares.values())}
    usual = [c for c in dict.fromkeys((name, CANONICAL[role])) if c in frame.columns]
    # A column of the usual name is in the way of any other.
    own = [c for c in usual if shares.get(c) or c == CANONICAL[role] or not best]
    if own:
        like = "called as in the interactions" if own[0] == name else "the usual name"
        told = f"{like}; {shares.get(own[0], 0):.0%} of their ids are in it"
        return Guess(own[0], role, told)
    ranked = sorted(
        best, key=lambda c: (frame[c].is_unique().all(), points(c, role), shares[c]), reverse=True
    )
    if not ranked:
        raise DataError(
            f"{place}: no column holds ids of the interactions' column {name!r}",
            hint=f"name it: --{role}-key COLUMN ({role}_key= in Python); columns: {', '.join(frame.columns)}",
        )
    first, others = ranked[0], tuple(ranked[1:])
    return Guess(first, role, f"{shares[first]:.0%} of the interactions' ids are in it, each once", others)


def _require_known(named: Mapping[str, str], frame: pl.DataFrame, place: str) -> None:
    for role, name in named.items():
        if name and name not in frame.columns:
            raise DataError(
                f"{place} has no column {name!r} (role {CANONICAL[role]})",
                hint=did_you_mean(name, frame.columns),
            )
    twice = [name for name in named.values() if name and list(named.values()).count(name) > 1]
    if twice:
        raise DataError(f"{place}: one column cannot play two roles: {twice[0]!r} in {dict(named)}")


def _by_name(role: str, free: Mapping[str, _Facts], frame: pl.DataFrame, place: str) -> Guess | None:
    """The column whose name speaks most for the role, among those whose values may play it."""
    if CANONICAL[role] in free and role != "event":
        own = CANONICAL[role]
        others = [name for name, facts in free.items() if name != own and _fits(role, name, facts, frame)]
        why = f"the usual name; {_value_reason(role, free[own], frame[own])}"
        return Guess(own, role, why, _instead(others, own, role, free))
    ranked = _sorted([name for name, facts in free.items() if _fits(role, name, facts, frame)], role)
    if not ranked:
        return None
    first = ranked[0]
    equal = [name for name in ranked if points(name, role) == points(first, role)]
    if len(equal) > 1:
        raise _ambiguous(role, equal, free, place)
    sure = role not in _NEEDED or points(first, role) > 50
    like = "named like" if sure else "no column is named more like"
    why = f"{like} {_A[role]}; {_value_reason(role, free[first], frame[first])}"
    return Guess(first, role, why, _instead(ranked[1:], first, role, free))


def _instead(names: Sequence[str], chosen: str, role: str, facts: Mapping[str, _Facts]) -> tuple[str, ...]:
    """What else could be mentioned: of ids not what has a handful of values, where the chosen has many."""
    least = FEW if role in _NEEDED and facts[chosen].distinct > FEW else 0
    return _sorted([name for name in names if facts[name].distinct > least], role)


def _sorted(names: list[str], role: str) -> tuple[str, ...]:
    return tuple(sorted(names, key=lambda name: (-points(name, role), name)))


def _fits(role: str, name: str, facts: _Facts, frame: pl.DataFrame) -> bool:
    """Whether a column's name speaks for a role and its values do not speak against it."""
    said = points(name, role)
    if not said or not facts.rows:
        return False
    if role in _NEEDED:
        return facts.kind == "id" and (said >= 80 or not facts.units)
    if role == "timestamp":
        counts = facts.kind == "id" and facts.span is not None and facts.span[0] >= 0 and said >= 90
        mostly = said >= 50 and _mostly(parsed if said >= 90 else _dates, frame[name])
        return bool(facts.units) or counts or mostly or (said > 10 and bool(_nearly(facts, frame[name])))
    if role == "rating":
        if facts.span is None:
            return said > 50 and _mostly(lambda texts: texts.cast(pl.Float64, strict=False), frame[name])
        bounded = facts.span[1] - facts.span[0] <= (100 if said > 50 else 10)
        return facts.kind in ("id", "number") and bounded and facts.distinct > 1 and not facts.units
    if role == "event":
        few = facts.kind == "id" and 1 < facts.distinct <= MOST_EVENTS and not facts.units
        return few and (said >= 90 or _event_words(frame[name]) >= 0.5)
    return facts.span is not None and facts.span[0] >= 0 and facts.kind in ("id", "number")


def _by_values(
    role: str, free: Mapping[str, _Facts], frame: pl.DataFrame, place: str, *, known: int
) -> Guess | None:
    """The one column whose values play the role, where no name spoke for it."""
    if role in _NEEDED:
        return _id_by_values(role, free, frame, place, known=known)
    if role == "timestamp":
        own = {n: f for n, f in free.items() if points(n, role) != 10 and not is_id(n)}
        timed = [n for n, f in own.items() if f.units] or [n for n, f in own.items() if _nearly(f, frame[n])]
        if len(timed) > 1:
            raise _ambiguous(role, sorted(timed), free, place)
        told = [f"the only times: {_said_units(free[name], frame[name])}" for name in timed]
        return Guess(timed[0], role, told[0]) if timed else None
    if role == "event":
        few = [n for n, f in free.items() if f.kind == "id" and 1 < f.distinct <= MOST_EVENTS]
        few = [n for n in few if frame[n].dtype == pl.String and _event_words(frame[n]) >= 0.5]
        if len(few) == 1:
            return Guess(few[0], role, f"its values are types of events: {_shown(frame[few[0]])}")
    return None


def _id_by_values(
    role: str, free: Mapping[str, _Facts], frame: pl.DataFrame, place: str, *, known: int
) -> Guess:
    """The only column that can be ids, where the other side's is known; DataError otherwise."""
    ids = {n: f for n, f in free.items() if f.kind == "id" and f.distinct > 1 and not f.units}
    ids = {n: f for n, f in ids.items() if not is_row_id(n) and not (f.distinct == f.rows > FEW)}
    ids = {n: f for n, f in ids.items() if frame[n].dtype != pl.String or not _nearly(f, frame[n])}
    if any(f.distinct > FEW for f in ids.values()):
        ids = {n: f for n, f in ids.items() if f.distinct > FEW}
    if len(ids) == 1 and known == 1:
        ((name, facts),) = ids.items()
        return Guess(name, role, f"the only other column that repeats ids: {facts.said}")
    told = f"{place} has no column {CANONICAL[role]!r}, and which other one is the {role} cannot be told"
    if ids:
        told += ": it could be " + " or ".join(f"{n!r} ({f.said})" for n, f in sorted(ids.items()))
    options = f"--{role} COLUMN" if known else "--user COLUMN --item COLUMN"
    raise DataError(
        told, hint=f"name it: {options} ({role}= in Python); {did_you_mean(CANONICAL[role], frame.columns)}"
    )


def _ambiguous(role: str, names: list[str], facts: Mapping[str, _Facts], place: str) -> DataError:
    shown = " or ".join(f"{name!r} ({facts[name].said})" for name in sorted(names))
    none = "" if role in _NEEDED else f', or --{role} none ({role}="") for none'
    return DataError(
        f"{place}: {shown} could each be the {role}",
        hint=f"name it: --{role} {quote(sorted(names)[0])} ({role}= in Python){none}",
    )


def _unit(chosen: Mapping[str, Guess], facts: Mapping[str, _Facts], frame: pl.DataFrame, place: str) -> str:
    """The unit of the times; DataError where days and months cannot be told apart."""
    if "timestamp" not in chosen:
        return ""
    name = chosen["timestamp"].column
    rough = _nearly(facts[name], frame[name])
    units = facts[name].units or tuple(unit for unit in rough if "%" in unit or unit == DAY)
    if len(units) > 1:
        raise DataError(
            f"{place}: the times of {name!r} read as {' and as '.join(units)}",
            hint=f"say which: --time-unit {units[0]!r} (time_unit= in Python)",
        )
    return units[0] if units and units[0] != "iso" else ""


def _context(name: str, facts: _Facts) -> Guess:
    few = 1 < facts.distinct <= FEW and facts.span is not None and 0 <= facts.span[0] < facts.span[1] <= 10
    perhaps = "rating" if few else "timestamp" if facts.units else ""
    could = {"rating": "; could be ratings", "timestamp": "; could be times"}.get(perhaps, "")
    reason = f"nothing says that it is more; {facts.said}{could}"
    return Guess(name, "context", reason, perhaps=perhaps)


def _value_reason(role: str, facts: _Facts, column: pl.Series) -> str:
    if role == "timestamp":
        return _said_units(facts, column)
    if role == "rating" and facts.span is not None:
        return f"{facts.distinct:,} distinct numbers from {facts.span[0]:g} to {facts.span[1]:g}"
    return f"types {_shown(column)}" if role == "event" else facts.said


def _said_units(facts: _Facts, column: pl.Series) -> str:
    units = facts.units or _nearly(facts, column)
    if not units:
        return "whole numbers"
    told = _UNITS.get(units[0], f"times as {units[0]}")
    if facts.units or not column.dtype.is_numeric():
        return told
    others = facts.rows - int(fits(column, units[0]).sum())
    return f"{told}, but for {others:,} of {facts.rows:,} rows"


def _nearly(facts: _Facts, column: pl.Series) -> tuple[str, ...]:
    """The forms of almost all values, where not all of them are times."""
    if facts.units or facts.kind not in ("id", "number"):
        return ()
    return tuple(nearly_units_of(column))


def _shown(column: pl.Series) -> str:
    kinds = column.cast(pl.String).drop_nulls().value_counts(sort=True)[column.name].to_list()
    return ", ".join(kinds[:5]) + (", ..." if len(kinds) > 5 else "")


def _dates(texts: pl.Series) -> pl.Series:
    """Texts as times; whole numbers as nulls, which may be days of a month."""
    found = parsed(texts)
    return pl.Series([None] * len(texts)) if found.dtype.is_integer() else found


def _mostly(read: Callable[[pl.Series], pl.Series], column: pl.Series) -> bool:
    """Whether at least half of a column's texts can be read: then the others are what is wrong."""
    given = column.drop_nulls()
    return given.dtype == pl.String and read(given).null_count() <= 0.5 * len(given)


def _event_words(column: pl.Series) -> float:
    """The share of distinct values that are known types of events."""
    kinds = column.cast(pl.String).drop_nulls().unique().to_list()
    return sum(event_weight(kind) is not None for kind in kinds) / max(1, len(kinds))
