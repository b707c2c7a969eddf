"""What a bundle is: what it reads and predicts, its columns, its limits; and which bundles answer."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from shortlist.server.answers.catalogue import Of

Number = int | float
Scale = Annotated[list[float], Meta(min_length=2, max_length=2)]
"""The least and the greatest value."""


class ColumnAbout(Struct, kw_only=True):
    """What a stored column holds. Of a long one, 50,000 rows tell."""

    name: str
    missing: int
    sampled: bool | UnsetType = UNSET
    kind: Of
    distinct: int | None
    least: Number | UnsetType = UNSET
    most: Number | UnsetType = UNSET
    examples: list[str | Number]


class StoredColumns(Struct, kw_only=True):
    """The columns that are stored."""

    items: list[ColumnAbout]
    users: list[ColumnAbout]


class ColumnAsked(Struct, kw_only=True):
    """A column of a request, as the bundle's manifest has it."""

    default: Literal["stored"] | int | None
    longest: int | UnsetType = UNSET
    name: str
    required: bool
    side: Literal["query", "candidate"]
    size: int | UnsetType = UNSET
    type: str


class ColumnRead(Struct, kw_only=True):
    """A column of the question that the model reads, beside the user's id and past."""

    name: str
    type: str
    kind: Of
    values: list[str] | UnsetType = UNSET


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
    scale: Scale | None


class Stages(Struct, kw_only=True):
    """Which stages there are."""

    retrieval: bool
    ranking: bool
    candidates: int
    index: dict[str, str | Number | bool | None] | None
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


class InUse(Struct, kw_only=True):
    """One side, and what is told of its bundle wherever bundles are listed."""

    side: str
    share: float
    before: str | None
    since: int
    version: str
    items: int
    users: int
    item_columns: list[str]
    user_columns: list[str]
    name_column: str | None
    reads_history: bool
    rating_scale: Scale | None


class Bundle(InUse, kw_only=True):
    """One side and the bundle that answers for it."""

    utility: UtilityInUse | None


class Bundles(Struct, kw_only=True):
    """What answers, a row for each side."""

    bundles: list[Bundle]


class Side(InUse, kw_only=True):
    """One side, and all that its bundle says of itself."""

    utility: Utility
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
    limits: Bounds
    licence: dict[str, str]
    has: Has


class About(Struct, kw_only=True):
    """What each bundle in use reads and predicts."""

    sides: list[Side]
