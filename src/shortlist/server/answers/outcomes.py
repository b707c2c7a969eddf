"""What became of events, of exchanges, and of what was refused; how the server is."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Struct, UnsetType


class Refusal(Struct, kw_only=True):
    """An event that was not kept: its index in the batch, the field, and why."""

    index: int
    field: str
    why: str


class Accepted(Struct, kw_only=True):
    """What became of a batch of events: so many are new, so many were known; the rest is listed. Beside them,
    of how many of the new and known ones the item is not in the catalogue, where there are such."""

    accepted: int
    repeated: int
    rejected: list[Refusal]
    unknown_items: int | UnsetType = UNSET


class Live(Struct, kw_only=True):
    """The process answers."""

    status: Literal["live"]


class Versions(Struct, kw_only=True):
    """The version in use of each side."""

    status: str
    bundles: dict[str, str]


class Problem(Struct, kw_only=True, omit_defaults=True):
    """RFC 9457: what went wrong. pointer: the path of the field inside the request (RFC 6901)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    pointer: str | None = None
    hint: str = ""
    request_id: str = ""
