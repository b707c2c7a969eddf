"""Shortlists, why they are so, and scores."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from shortlist.server.answers.columns import Open, Stored


class Listed(Open, kw_only=True):
    """An item of a shortlist; beside these: what each head predicts, and the columns that were asked for."""

    item_id: str
    score: float | None
    rank: int
    source: Literal["retrieval", "popular"]
    retrieval_score: float | UnsetType = UNSET
    retrieval_rank: int | UnsetType = UNSET


class Reason(Struct, kw_only=True):
    """What one change makes of one item: with the change, and minus without it."""

    change: int
    score: float | None
    score_change: float | None
    rank: int | None
    rank_change: int | None
    source: Literal["popular"] | UnsetType = UNSET


class ListedWhy(Listed, kw_only=True):
    """An item of an explained shortlist."""

    why: list[Reason] | UnsetType = UNSET


class Change(Open, kw_only=True):
    """One thing that was taken away; of an item of the history, its name stands beside it."""

    kind: Literal["history", "query", "item"]
    set_to: Literal["removed", "unknown", "default"]
    name: str | UnsetType = UNSET
    value: Stored | UnsetType = UNSET
    item_id: str | UnsetType | None = UNSET
    timestamp: int | UnsetType = UNSET
    rating: float | UnsetType = UNSET
    partly: bool | UnsetType = UNSET


class Explanation(Struct, kw_only=True):
    """What was taken away, and what else is to be known."""

    not_listed: list[str]
    changes: list[Change]
    history_left_out: int
    candidates: int
    notes: list[str]


class Shortlist(Struct, kw_only=True):
    """An answer, best first."""

    user_id: str | None
    bundle: str
    variant: str
    items: list[Listed]


class Shortlists(Struct, kw_only=True):
    """An answer to each query, in their order."""

    results: list[Shortlist]


class Ranked(Shortlist, kw_only=True):
    """A caller's own candidates, best first."""

    unknown: list[str]


class Explained(Struct, kw_only=True):
    """An answer that says why."""

    user_id: str | None
    bundle: str
    variant: str
    items: list[ListedWhy]
    explained: Explanation


class Scored(Open, kw_only=True):
    """A pair; beside these: what each head predicts."""

    user_id: str | None
    item_id: str
    log_p: float | UnsetType | None = UNSET


class Scores(Struct, kw_only=True):
    """A row each."""

    rows: list[Scored]
    unknown: list[str]
