"""How the run that made a bundle judged it. Fields have the order of the manifest: the alphabet's."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class Figure(Struct, kw_only=True):
    """A figure and its interval; null: that is not known."""

    high: float | None
    low: float | None
    value: float | None


class Entry(Struct, kw_only=True):
    """One entrant: a model or a baseline. figures: by name; curve: hit rate by cut-off."""

    settings: str
    seconds: float | None
    curve: dict[str, float | None]
    name: str
    figures: dict[str, Figure]
    role: str


class Slice(Struct, kw_only=True):
    """Figures of entrants on a part of the test rows."""

    figures: dict[str, dict[str, Figure]]
    name: str
    num_rows: int | None
    num_users: int | None


class Verdict(Struct, kw_only=True):
    """Whether the model wins against a baseline. An old bundle has the sentence alone."""

    baseline: str | UnsetType = UNSET
    difference: Figure | UnsetType = UNSET
    metric: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    sentence: str
    verdict: Literal["wins", "loses", "no difference shown"] | UnsetType = UNSET


class Collapse(Struct, kw_only=True):
    """How alike an entrant's lists are."""

    constant_scores: bool
    distinct_items: int
    identical_share: float | None
    name: str
    num_items: int
    warning: str


class Evaluation(Struct, kw_only=True):
    """The report of the run that made a bundle, as far as the bundle holds it."""

    side: str
    version: str
    recipe: str
    protocol: dict[str, Any]
    headline: list[str]
    entries: list[Entry]
    verdicts: list[Verdict]
    slices: list[Slice]
    stages: dict[str, float | dict[str, float | None] | None]
    collapse: list[Collapse]
    history: dict[str, list[float | None]]
    warnings: list[str]
