"""Shortlists of every user and neighbours of every item, block by block into one file.

A block is a batch of `Recommender.recommend`; threads work on a few blocks at a time, and blocks are written
in order. Memory is that of the blocks under way, whatever the number of users, and what is written depends
neither on the number of threads nor on how often the run was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from shortlist import __version__
from shortlist._typing import Array, Floats, Ints, Longs
from shortlist.data.blocks import Columns, Texts, require_ending
from shortlist.errors import RequestError
from shortlist.pipeline.blas import one_thread
from shortlist.pipeline.histories import TOLD
from shortlist.pipeline.identity import fingerprint
from shortlist.pipeline.neighbours import nearest
from shortlist.pipeline.questions import Ids, id_list, is_list, require_k
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.resumable import Target, Tell, Written, write
from shortlist.pipeline.scoring import NEAR, all_compared
from shortlist.pipeline.scoring import unit as at_length_one
from shortlist.pipeline.slate import Slate
from shortlist.state.seen import Seen

_ROWS = 1 << 16  # rows of a block, at most
_USERS = 1 << 12  # users of a block, at most
_FEW, _BLOCKS = 1 << 8, 16  # users of a block at least, and blocks there should be: threads end together
_SCORES = 1 << 28  # scores a block computes, about: what a kill loses at most takes seconds
_SLICE, _LONG_ENOUGH = 64, 1.0  # items at a time, and seconds, that tell how long every item will take
_SIDE = ("user_id", "item_id", "rank", "score", "retrieval_score", "source")

T = TypeVar("T")
Near = Callable[[Longs], tuple[Floats, Ints]]
"""Positions [b] -> all items' vectors at length 1, and the positions [b, w] near to each, itself not among
them."""


def shortlists(
    recommender: Recommender,
    users: Sequence[str] | None = None,
    k: int = 10,
    *,
    context: Mapping[str, Any] | None = None,
    threads: int = 0,
    block: int = 0,
    **filters: Any,
) -> Iterator[Slate]:
    """A slate for each block of users, in order.

    Args:
        users: ids; all that the recommender knows where None.
        k, filters: as in `Recommender.recommend`; they hold for all users, so none is a list of one each.
        context: columns of the query by name, the same value for all, such as timestamp: not user_id, nor
            what tells a history.
        threads: blocks worked on at a time (0: as many as there are processors, 8 at most).
        block: users a block (0: as many as give a table of moderate size).

    Raises RequestError as `Recommender.recommend` does.
    """
    require_k(k)
    _require_counts(threads=threads, block=block)
    ids = _known(recommender) if users is None else _user_ids(users)
    size = block or _users_each(recommender, len(ids), k)
    yield from _slates(recommender, ids, k, _shared(context), threads, size, _for_all(filters))


def _slates(
    recommender: Recommender,
    ids: Sequence[str],
    k: int,
    context: Mapping[str, Any],
    threads: int,
    size: int,
    filters: Mapping[str, Any],
) -> Iterator[Slate]:
    def answer(start: int) -> Slate:
        asked = ids[start : start + size]
        shared = {name: [value] * len(asked) for name, value in context.items()}
        return recommender.recommend({"user_id": list(asked), **shared}, k, **filters)

    return in_order(answer, range(0, len(ids), size), threads)


def recommend_all(
    recommender: Recommender,
    path: str | Path,
    k: int = 10,
    *,
    users: Sequence[str] | None = None,
    context: Mapping[str, Any] | None = None,
    filter_seen: bool = True,
    exclude: Ids | None = None,
    only: Ids | None = None,
    where: str | None = None,
    threads: int = 0,
    block: int = 0,
    force: bool = False,
    identity: str = "",
    tell: Tell = lambda *_: None,
) -> Written:
    """Write the shortlists of users to a table: user_id, item_id, rank, score, a column a head, and source:
    "retrieval", or "popular" where the model was not asked.

    Args:
        path: ends in .parquet, .csv or .jsonl. What a killed run has written whole is kept beside it, and the
            same call goes on from there, to the same bytes.
        force: replace the file there is, and what a run that was asked something else has left.
        identity: whose answers these are, such as a bundle's digest; a fingerprint of the recommender is
            taken besides.
        tell: told how many of how many users are written.
        The rest is as in `shortlists` and `Recommender.recommend`.

    Raises DataError where the file is there already, an interrupted run was asked something else, or it
    cannot be written; MissingExtra for .parquet without Polars; RequestError as `Recommender.recommend` does,
    and where there are no users.
    """
    require_k(k)
    _require_counts(threads=threads, block=block)
    require_ending(Path(path))
    ids = _known(recommender) if users is None else _user_ids(users)
    if not ids:
        raise RequestError("there are no users to recommend to", hint="give their ids in users")
    shared = _shared(context)
    lists = _for_all({"exclude": exclude, "only": only})
    filters = {**lists, **_for_all({"where": where}), "filter_seen": filter_seen}
    size = block or _users_each(recommender, len(ids), k)
    question = {
        "answers": "shortlists",
        **_asked(recommender, path, identity, k, size),
        "users": _digest(ids),
        "filter_seen": filter_seen,
        **{name: _digest(listed) for name, listed in lists.items() if listed is not None},
        "where": where,
        "context": json.loads(json.dumps(shared, default=str)),
    }

    def blocks(done: int) -> Iterator[tuple[int, Columns]]:
        left = ids[done:]
        slates = _slates(recommender, left, k, shared, threads, size, filters)
        for start, slate in zip(range(0, len(left), size), slates, strict=True):
            asked = left[start : start + size]
            yield len(asked), _shortlist_columns(slate, asked)

    return write(Target(Path(path), question, len(ids)), blocks, force=force, tell=tell)


def similar_all(
    recommender: Recommender,
    path: str | Path,
    k: int = 10,
    *,
    threads: int = 0,
    block: int = 0,
    force: bool = False,
    identity: str = "",
    tell: Tell = lambda *_: None,
) -> Written:
    """Write the neighbours of every item to a table: item_id, neighbour_id, rank, score (cosine).

    What `Recommender.similar_items` says of each item. Arguments and errors are those of `recommend_all`.
    """
    require_k(k)
    _require_counts(threads=threads, block=block)
    require_ending(Path(path))
    near, looked_at = _nearest(recommender, k)
    items = _compared(recommender)
    size = block or max(1, min(_USERS, _ROWS // k, _SCORES // max(1, looked_at)))
    question = {"answers": "neighbours", **_asked(recommender, path, identity, k, size)}

    def blocks(done: int) -> Iterator[tuple[int, Columns]]:
        starts = range(done, max(1, len(items)), size)  # of no items one block, which has the columns' names
        found = in_order(lambda at: _neighbours(recommender, near, items[at : at + size], k), starts, threads)
        for start, columns in zip(starts, found, strict=True):
            yield len(items[start : start + size]), columns

    return write(Target(Path(path), question, len(items)), blocks, force=force, tell=tell)


def similar_seconds(recommender: Recommender, k: int = 10, *, threads: int = 0) -> float:
    """About how long `similar_all` will take, by the first items: a second of the same work.

    Raises RequestError as `similar_all` does.
    """
    require_k(k)
    near, items = _nearest(recommender, k)[0], _compared(recommender)
    starts = range(0, len(items), _SLICE)
    slices = in_order(lambda at: _neighbours(recommender, near, items[at : at + _SLICE], k), starts, threads)
    begun, ends = time.perf_counter(), [0.0]
    for _ in slices:
        ends.append(time.perf_counter() - begun)
        if ends[-1] > _LONG_ENOUGH:
            break
    slices.close()
    return ends[-1] * len(starts) / max(1, len(ends) - 1)


def in_order(work: Callable[[int], T], tasks: Iterable[int], threads: int = 0) -> Generator[T, None, None]:
    """The work on each task, in their order; a task more than there are threads is begun ahead.
    NumPy's products keep to one thread each meanwhile."""
    threads = threads or _processors()
    if threads == 1:
        with one_thread():
            yield from map(work, tasks)
        return
    with one_thread(), ThreadPoolExecutor(threads, "bulk") as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(work, task))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _processors() -> int:
    return min(8, os.cpu_count() or 1)


# Blocks as columns


def _known(recommender: Recommender) -> Sequence[str]:
    values: Sequence[Any] = recommender.users.vocabulary.values
    return values


def _users_each(recommender: Recommender, num_users: int, k: int) -> int:
    even = max(_FEW, -(-num_users // _BLOCKS))
    return max(1, min(even, _USERS, _ROWS // k, _SCORES // max(1, len(recommender.items))))


def _shortlist_columns(slate: Slate, asked: Sequence[str]) -> Columns:
    heads = {name: column for name, column in slate.columns.items() if name not in _SIDE}
    return {
        "user_id": Texts(slate.query, asked),
        "item_id": _ids(slate.items.ids, slate.positions),
        "rank": slate.columns["rank"],
        "score": slate.columns["score"],
        **heads,
        "source": Texts((slate.columns["source"] == "popular").astype(np.int64), ("retrieval", "popular")),
    }


def _ids(ids: Array, positions: Array) -> Texts:
    if len(ids) <= len(positions):
        return Texts(positions, ids.tolist())
    used, codes = np.unique(positions, return_inverse=True)
    return Texts(codes, ids[used].tolist())


def _neighbours(recommender: Recommender, near: Near, items: Longs, k: int) -> Columns:
    """The k items nearest to each of some, as `similar_items` finds them."""
    own, found = near(items)
    row, place = np.nonzero(found >= 0)
    others = found[row, place]
    cosines = np.einsum("nd,nd->n", own[items[row]], own[others])
    order = np.lexsort((others, -cosines, row))
    rank = np.arange(len(row)) - np.searchsorted(row, row) + 1
    kept = rank <= k
    ids = recommender.items.ids
    return {
        "item_id": Texts(row[kept], ids[items].tolist()),
        "neighbour_id": _ids(ids, others[order][kept]),
        "rank": rank[kept].astype(np.int32),
        "score": cosines[order][kept],
    }


def _compared(recommender: Recommender) -> Longs:
    """The positions of the items that have neighbours: all that are not removed."""
    retired = recommender.items.retired
    return np.arange(len(recommender.items)) if retired is None else np.flatnonzero(~retired)


def _nearest(recommender: Recommender, k: int) -> tuple[Near, int]:
    """What finds the items near to others, and how many items it looks at a query.

    An approximate index finds a few times k by inner product; without one every cosine is computed. Raises
    RequestError where there are no vectors.
    """
    index, retired = recommender.index, recommender.items.retired
    stored = recommender.item_vectors
    stored = recommender.item_representations if stored is None else stored
    if stored is None:
        raise RequestError("this recommender has no item vectors to compare")
    vectors = np.asarray(stored)
    unit = at_length_one(vectors)
    compared = _compared(recommender)
    if index is None or all_compared(index):
        left = unit if retired is None else unit[compared]

        def exact(items: Longs) -> tuple[Floats, Ints]:
            found = nearest(left, np.searchsorted(compared, items), min(k, len(left)))
            return unit, np.where(found >= 0, compared[found], -1).astype(np.int32)

        return exact, len(left)

    def approximate(items: Longs) -> tuple[Floats, Ints]:  # looks at what `similar_items` does
        itself = Seen(np.arange(len(items) + 1), items.astype(np.int32))
        return unit, index.search(index.vectors(items), min(NEAR * k, len(unit)), exclude=itself).positions

    return approximate, len(unit) // 16


# What was asked


def _asked(recommender: Recommender, path: str | Path, identity: str, k: int, block: int) -> dict[str, Any]:
    return {
        "shortlist": __version__,
        "bundle": identity,
        "recommender": fingerprint(recommender),
        "format": require_ending(Path(path)),
        "k": k,
        "block": block,
    }


def _digest(ids: Sequence[Any]) -> str:
    """How many ids, and which: a short hash of their texts."""
    digest = hashlib.sha256()
    for start in range(0, len(ids), _ROWS):
        digest.update(json.dumps(list(map(str, ids[start : start + _ROWS]))).encode())
    return f"{len(ids)} ids {digest.hexdigest()[:16]}"


# What may be asked of all users at once


def _require_counts(**counts: object) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
            raise RequestError(
                f"{name} must be a whole number, 0 or more, got {count!r}",
                hint="0, or none given, lets the machine decide",
            )


def _user_ids(users: Any) -> list[str]:
    if not is_list(users):
        raise RequestError(
            f"users must be a list of user ids, got {users!r} ({type(users).__name__})",
            hint="one user alone is users=[id]",
        )
    return [_user_id(row, value) for row, value in enumerate(users)]


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
