"""What many users are asked at once: who they are, and one question that holds for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from shortlist._typing import Array
from shortlist.data.blocks import Columns, Texts, encode
from shortlist.errors import RequestError
from shortlist.pipeline.histories import TOLD
from shortlist.pipeline.questions import id_list, is_list, require_k
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.resumable import Block
from shortlist.pipeline.slate import Slate, plain_values

_SIDE = ("user_id", "item_id", "rank", "score", "retrieval_score", "source")


class Question(msgspec.Struct, frozen=True):
    """k, columns of the query by name, and filters as of `Recommender.recommend`: the same for all users."""

    k: int
    context: dict[str, Any]
    filters: dict[str, Any]

    @classmethod
    def of(cls, k: int, context: Any, filters: Mapping[str, Any]) -> Question:
        """RequestError for what cannot hold for all users."""
        require_k(k)
        return cls(int(k), _shared(context), _for_all(filters))

    def ask(self, recommender: Recommender, users: Sequence[str]) -> Slate:
        """The shortlists of some users. Raises as `Recommender.recommend` does."""
        shared = {name: [value] * len(users) for name, value in self.context.items()}
        return recommender.recommend({"user_id": list(users), **shared}, self.k, **self.filters)

    def block(self, recommender: Recommender, users: Sequence[str], ending: str, *, first: bool) -> Block:
        """The shortlists of some users as a block of a table. Raises as `Recommender.recommend` does."""
        slate = self.ask(recommender, users)
        return Block(len(users), len(slate), encode(ending, _columns(slate, users), first=first))

    def plain(self, recommender: Recommender, user: str) -> Question:
        """The same in texts, numbers and lists of them, read and found right with one user.

        Raises as `Recommender.recommend` does.
        """
        given = {name: [value] for name, value in self.context.items()}
        read = recommender.read({"user_id": [user], **given}).columns
        filters = {**self.filters, "filter_seen": bool(self.filters["filter_seen"])}
        recommender.filters.read(1, *(filters[name] for name in ("exclude", "only", "where")))
        return Question(self.k, {name: plain_values(read[name])[0] for name in given}, filters)


def _columns(slate: Slate, users: Sequence[str]) -> Columns:
    heads = {name: column for name, column in slate.columns.items() if name not in _SIDE}
    return {
        "user_id": Texts(slate.query, users),
        "item_id": texts(slate.items.ids, slate.positions),
        "rank": slate.columns["rank"],
        "score": slate.columns["score"],
        **heads,
        "source": Texts((slate.columns["source"] == "popular").astype(np.int64), ("retrieval", "popular")),
    }


def texts(ids: Array, positions: Array) -> Texts:
    """The ids at positions; of a large catalogue only those that are there."""
    if len(ids) <= len(positions):
        return Texts(positions, ids.tolist())
    used, codes = np.unique(positions, return_inverse=True)
    return Texts(codes, ids[used].tolist())


def require_counts(**counts: object) -> None:
    """RequestError for what is no whole number, 0 or more."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
            raise RequestError(
                f"{name} must be a whole number, 0 or more, got {count!r}",
                hint="0, or none given, lets the machine decide",
            )


def user_ids(users: Any) -> list[str]:
    """Ids as texts. RequestError for what is no list of them."""
    if not is_list(users):
        raise RequestError(
            f"users must be a list of user ids, got {users!r} ({type(users).__name__})",
            hint="one user alone is users=[id]",
        )
    listed = list(users)
    if set(map(type, listed)) == {str} and all(map(str.isascii, listed)):
        return listed
    return [_user_id(row, value) for row, value in enumerate(listed)]


def _user_id(row: int, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
        raise RequestError(f"users[{row}]: expected a user id, got {value!r} ({type(value).__name__})")
    text = str(value)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RequestError(
                f"users[{row}]: {text!r} is no text: half of a pair of signs stands at {error.start}",
                hint="read the ids as UTF-8",
            ) from None
    return text


def _shared(context: Any) -> dict[str, Any]:
    """The columns that all users share. RequestError for one that says who somebody is, or what they did."""
    if context is not None and not isinstance(context, Mapping):
        raise RequestError(f"context must be columns by name, got {context!r}")
    shared = dict(context or {})
    if "user_id" in shared:
        raise RequestError(
            "user_id cannot be the same for all users: each would get the shortlist of one",
            hint="give ids in users (--users FILE)",
        )
    if told := [name for name in shared if name in TOLD]:
        raise RequestError(
            f"{told[0]} is what one user did, so it cannot be the same for all users",
            hint="ask Recommender.recommend, with a history for each",
        )
    return shared


def _for_all(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Filters that hold for all users, ids as lists: blocks of users would take lists of one each anew."""
    hint = "to give each user their own, ask Recommender.recommend for some users at a time"
    out = dict(filters)
    for name in {"exclude", "only"} & {name for name, given in filters.items() if given is not None}:
        listed = list(out[name]) if is_list(out[name]) else [out[name]]
        if each := [row for row, value in enumerate(listed) if value is None or is_list(value)]:
            raise RequestError(
                f"{name}[{each[0]}] is {listed[each[0]]!r}, but {name} holds for all users: a list of ids",
                hint=hint,
            )
        out[name] = id_list(name, listed).tolist()
    if not isinstance(out.get("where") or "", str):
        raise RequestError(f"where is one predicate for all users, got {out['where']!r}", hint=hint)
    return out
