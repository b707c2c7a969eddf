"""Shapes of what is told of a bundle, for the OpenAPI document: what it is, how it was judged, a map of it.

They are written as plain values by shortlist.server.about and routes.exploring; a test holds both together.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

Number = int | float
Of = Literal["text", "category", "number", "tags", "flag", "time", "vector"]


class Figure(Struct, kw_only=True):
    """A figure and its interval; null: that is not known."""

    value: float | None
    low: float | None
    high: float | None


# What a bundle is


class ColumnAbout(Struct, kw_only=True):
    """What a stored column holds. Of a long one, 50,000 rows tell."""

    name: str
    kind: Of
    missing: int
    distinct: int | None
    examples: list[Any]
    least: Number | UnsetType = UNSET
    most: Number | UnsetType = UNSET
    sampled: bool | UnsetType = UNSET


class StoredColumns(Struct, kw_only=True):
    """The columns that are stored."""

    items: list[ColumnAbout]
    users: list[ColumnAbout]


class ColumnAsked(Struct, kw_only=True):
    """A column of a request, as the bundle's manifest has it."""

    name: str
    side: Literal["query", "candidate"]
    type: str
    required: bool
    default: Any
    longest: int | UnsetType = UNSET


class ColumnRead(Struct, kw_only=True):
    """A column of the question that the model reads, beside the user's id and past."""

    name: str
    type: str
    kind: Of
    values: list[Any] | UnsetType = UNSET


class Reads(Struct, kw_only=True):
    """What the model reads."""

    user_id: bool
    timestamp: bool
    history: bool
    item: list[str]


class Task(Struct, kw_only=True):
    """What the model was trained on."""

    kind: str | None
    weight: float | None
    label: str | None


class Head(Struct, kw_only=True):
    """What the ranker predicts."""

    name: str
    column: str
    kind: str | None
    label: str | None
    scale: list[float] | None


class Stages(Struct, kw_only=True):
    """Which stages there are."""

    retrieval: bool
    ranking: bool
    candidates: int
    index: dict[str, Any] | None
    seen_bonus: float | None


class Term(Struct, kw_only=True):
    """A part of the sum that the order is by."""

    name: str
    weight: float


class Utility(Struct, kw_only=True):
    """What the order is by, unless a request says otherwise."""

    rating_weight: float | None
    head: str | None
    heads: list[str]
    adjustable: bool
    terms: list[Term]


class UtilityInUse(Struct, kw_only=True):
    """What the order is by."""

    rating_weight: float
    head: str


class Bounds(Struct, kw_only=True):
    """How much may be asked for."""

    k: int
    queries: int
    history: int
    listed: int
    page: int
    map: int
    explain_k: int
    explain_history: int
    user_history: int


class Has(Struct, kw_only=True):
    """Which of the other routes have something to say."""

    evaluation: bool
    map: bool
    similar: bool
    events: bool


class Bundle(Struct, kw_only=True):
    """One side and the bundle that answers for it."""

    side: str
    share: float
    before: str | None
    version: str
    since: int
    items: int
    users: int
    item_columns: list[str]
    user_columns: list[str]
    name_column: str | None
    reads_history: bool
    rating_scale: list[float] | None
    utility: UtilityInUse | None


class Bundles(Struct, kw_only=True):
    """What answers, a row for each side."""

    bundles: list[Bundle]


class Side(Struct, kw_only=True):
    """One side, and all that its bundle says of itself."""

    side: str
    share: float
    before: str | None
    version: str
    since: int
    items: int
    users: int
    item_columns: list[str]
    user_columns: list[str]
    name_column: str | None
    reads_history: bool
    rating_scale: list[float] | None
    recipe: str
    created: str | None
    seen: int
    columns: StoredColumns
    request: list[ColumnAsked]
    context: list[ColumnRead]
    reads: Reads
    tasks: list[Task]
    heads: list[Head]
    stages: Stages
    utility: Utility
    limits: Bounds
    licence: dict[str, Any]
    has: Has


class About(Struct, kw_only=True):
    """What each bundle in use reads and predicts."""

    sides: list[Side]


# How it was judged


class Entry(Struct, kw_only=True):
    """One entrant: a model or a baseline. figures: by name; curve: hit rate by cut-off."""

    name: str
    role: str
    settings: str
    seconds: float | None
    figures: dict[str, Figure]
    curve: dict[str, float | None]


class Slice(Struct, kw_only=True):
    """Figures of entrants on a part of the test rows."""

    name: str
    num_rows: int | None
    num_users: int | None
    figures: dict[str, dict[str, Figure]]


class Verdict(Struct, kw_only=True):
    """Whether the model wins against a baseline. An old bundle has the sentence alone."""

    sentence: str
    metric: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    baseline: str | UnsetType = UNSET
    difference: Figure | UnsetType = UNSET
    verdict: Literal["wins", "loses", "no difference shown"] | UnsetType = UNSET


class Collapse(Struct, kw_only=True):
    """How alike an entrant's lists are."""

    name: str
    identical_share: float | None
    distinct_items: int
    num_items: int
    constant_scores: bool
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
    stages: dict[str, Any]
    collapse: list[Collapse]
    history: dict[str, list[float | None]]
    warnings: list[str]


# Where its items lie


class Map(Struct, kw_only=True):
    """Items on two axes: ids, names, x, y and values are beside each other."""

    ids: list[str]
    names: list[Any] | None
    x: list[float]
    y: list[float]
    by: str | None
    kind: Of | None
    values: list[Any] | None
    shown: int
    total: int
    variance: list[float]
    method: str
    chosen: Literal["all", "popular"]
    version: str
