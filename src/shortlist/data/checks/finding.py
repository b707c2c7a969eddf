"""What a check is and what it finds: plain values, and the thresholds above which something is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from shortlist.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from shortlist.data.checks.subject import Subject

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Example:
    """One place where something was found. row: counted from 0 in its table or part; None for an id or a
    column as a whole. text: what stands there."""

    text: str
    row: int | None = None
    part: str = ""

    def __str__(self) -> str:
        place = "" if self.row is None else f"row {self.row}: "
        return f"{self.part + ' ' if self.part else ''}{place}{self.text}"


@dataclass(frozen=True)
class Hit:
    """What a check found once. count: of what the message says, out of `of`. where: table and column."""

    severity: Severity
    count: int
    of: int
    where: str
    message: str
    examples: tuple[Example, ...] = ()
    hint: str = ""


@dataclass(frozen=True)
class Check:
    """A named check. run: a pure function of the tables. needs: without these it is not run: roles,
    "users", "items" (tables), "split". hint: what to do where a hit has no hint of its own."""

    name: str
    run: Callable[[Subject], Iterable[Hit]]
    hint: str
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something a check found. An "error" keeps the table from being used or makes it mean something
    else; a "warning" is likely to spoil a model or its figures; a "note" is worth knowing."""

    name: str
    severity: Severity
    count: int
    share: float
    message: str
    examples: tuple[Example, ...]
    hint: str
    where: str

    @classmethod
    def of(cls, check: Check, hit: Hit) -> Finding:
        share = hit.count / hit.of if hit.of else 0.0
        hint = hit.hint or check.hint
        return cls(check.name, hit.severity, hit.count, share, hit.message, hit.examples, hint, hit.where)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        examples = [vars(example) for example in self.examples]
        return {**vars(self), "examples": examples}


@dataclass(frozen=True)
class Limits:
    """Thresholds of the checks. Shares are between 0 and 1.

    examples: shown of each finding. earliest, future_days: times before this second of 1970 or more than
    these days from now are doubtful. missing_share: of missing values from which a column is a warning.
    unique_share: of distinct values from which a column tells rows apart. number_share: of numbers from
    which the few texts of a column are called mixed. leakage: of the label's variance (or of the errors
    without it) that a column may explain. correlation: of an item's column with its rows or mean rating.
    user_rows, item_rows: fewer are few; few_share: of users or items with few rows from which that is a
    warning. gini, top_share: of rows over items; of rows of the top 1 % of items. user_share: of all rows
    that one user may have. cold_share: of a part's users or items training never shows.
    """

    examples: int = 5
    earliest: float = 315_532_800  # 1980-01-01
    future_days: float = 1.0
    missing_share: float = 0.5
    unique_share: float = 0.95
    number_share: float = 0.8
    leakage: float = 0.8
    correlation: float = 0.8
    user_rows: int = 5
    item_rows: int = 5
    few_share: float = 0.5
    gini: float = 0.9
    top_share: float = 0.5
    user_share: float = 0.01
    cold_share: float = 0.5

    def changed(self, values: Mapping[str, float]) -> Limits:
        """With other values for some. DataError with the nearest names for one that is not known."""
        kinds = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        for name in values:
            if name not in kinds:
                raise DataError(f"there is no limit {name!r}", hint=did_you_mean(name, kinds))
        return replace(self, **{name: kinds[name](value) for name, value in values.items()})
