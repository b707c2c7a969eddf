"""What an evaluation found, as a value: printed, written as JSON or shown as a page."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shortlist.errors import did_you_mean
from shortlist.evaluation.collapse import Collapse
from shortlist.evaluation.html import page, section
from shortlist.evaluation.intervals import Comparison, Estimate
from shortlist.evaluation.rows import Skipped
from shortlist.evaluation.slices import SliceFigures
from shortlist.evaluation.text import report_text


@dataclass(frozen=True)
class Entry:
    """One row of the report. `figures` by name; `curve` filtered hit rate by cut-off; seconds of CPU."""

    name: str
    role: str
    settings: str
    seconds: float | None
    figures: Mapping[str, Estimate]
    curve: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """Entrants on one split, in one table, with the rules the figures rest on."""

    protocol: Mapping[str, Any]
    entries: tuple[Entry, ...]
    headline: tuple[str, ...]
    verdicts: tuple[Comparison, ...] = ()
    slices: tuple[SliceFigures, ...] = ()
    collapse: tuple[Collapse, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    stages: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def figure(self, entry: str, name: str) -> Estimate:
        """One figure of one entrant, such as `report.figure("EASE", "filtered ndcg@10 (user)")`.

        Raises `KeyError` naming the nearest known names.
        """
        entries = {found.name: found for found in self.entries}
        if entry not in entries:
            raise KeyError(f"no entry {entry!r}; {did_you_mean(entry, entries)}")
        figures = entries[entry].figures
        if name not in figures:
            raise KeyError(f"{entry} has no figure {name!r}; {did_you_mean(name, figures)}")
        return figures[name]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences about collapsed models."""
        return tuple(check.warning for check in self.collapse if check.warning)

    def table(self) -> str:
        """The report as plain text."""
        return report_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values only; what is not a number is None."""
        return {
            "protocol": _plain(self.protocol),
            "headline": list(self.headline),
            "entries": [_plain(vars(entry)) for entry in self.entries],
            "verdicts": [_plain(vars(verdict)) | {"sentence": verdict.sentence} for verdict in self.verdicts],
            "slices": [_plain(vars(part)) for part in self.slices],
            "collapse": [_plain(vars(check)) for check in self.collapse],
            "skipped": [_plain(vars(entry)) for entry in self.skipped],
            "stages": _plain(self.stages),
            "history": _plain(self.history),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False, allow_nan=False)

    def to_html(self, title: str = "Evaluation") -> str:
        """A page that stands alone: no script, no request, plots as inline SVG."""
        return page(self, title)

    def _repr_html_(self) -> str:
        return section(self, "Evaluation")

    def __str__(self) -> str:
        return self.table()


def _plain(value: Any) -> Any:
    """Dictionaries, lists, strings, numbers and None."""
    if isinstance(value, Estimate):
        return {"value": _plain(value.value), "low": _plain(value.low), "high": _plain(value.high)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
