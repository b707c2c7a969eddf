"""Shortlists of every user and neighbours of every item, block by block into one file.

A block is a batch of `Recommender.recommend`; threads work on a few blocks at a time, and blocks are written
in order. Memory is that of the blocks under way, whatever the number of users, and what is written depends
neither on the number of threads nor on how often the run was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shortlist import __version__
from shortlist._typing import Floats, Ints, Longs
from shortlist.data.blocks import Columns, Texts, require_ending
from shortlist.errors import RequestError
from shortlist.pipeline.everybody import Question, require_counts, texts, user_ids
from shortlist.pipeline.frames import Task
from shortlist.pipeline.identity import fingerprint
from shortlist.pipeline.neighbours import nearest
from shortlist.pipeline.ordered import in_order, processors
from shortlist.pipeline.processes import Changed, Team, folder_of
from shortlist.pipeline.questions import Ids, require_k
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.resumable import Block, Target, Tell, Written, write
from shortlist.pipeline.scoring import NEAR, all_compared
from shortlist.pipeline.scoring import unit as at_length_one
from shortlist.pipeline.slate import Slate
from shortlist.state.seen import Seen

_ROWS = 1 << 16  # rows of a block, at most
_USERS = 1 << 12  # users of a block, at most
_FEW, _BLOCKS = 1 << 8, 16  # users of a block at least, and blocks there should be: threads end together
_SCORES = 1 << 28  # scores a block computes, about: what a kill loses at most takes seconds
_SLICE, _LONG_ENOUGH = 64, 1.0  # items at a time, and seconds, that tell how long every item will take
_MANY = 1 << 17  # users from which on loading the bundle once more pays

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
    require_counts(threads=threads, block=block)
    ids = _known(recommender) if users is None else user_ids(users)
    size = block or _users_each(recommender, len(ids), k)
    question = Question.of(k, context, filters)
    starts, recommender = range(0, len(ids), size), recommender.forgetful()
    yield from in_order(lambda at: question.ask(recommender, ids[at : at + size]), starts, threads)


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
    processes: int = 1,
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
        processes: how many answer, each on one thread, this one among them; the others load the bundle that
            the recommender is of. 0: as many as there are processors where it was loaded from one, there are
            so many users that it pays, and no number of threads is given.
        force: replace the file there is, and what a run that was asked something else has left.
        identity: whose answers these are, such as a bundle's digest; a fingerprint of the recommender is
            taken besides.
        tell: told how many of how many users are written.
        The rest is as in `shortlists` and `Recommender.recommend`.

    Raises DataError where the file is there already, an interrupted run was asked something else, or it
    cannot be written; MissingExtra for .parquet without Polars; RequestError as `Recommender.recommend` does,
    where there are no users, and for several processes where the recommender was not loaded from a folder or
    was changed since; ShortlistError where one of these is killed.
    """
    require_counts(threads=threads, processes=processes, block=block)
    ending = require_ending(Path(path))
    ids = _known(recommender) if users is None else user_ids(users)
    if not ids:
        raise RequestError("there are no users to recommend to", hint="give their ids in users")
    filters = {"exclude": exclude, "only": only, "where": where, "filter_seen": bool(filter_seen)}
    recommender = recommender.forgetful()
    question = Question.of(k, context, filters)
    size = block or _users_each(recommender, len(ids), k)
    asked = _asked(recommender, path, identity, question.k, size)
    others = _num_processes(recommender, processes, threads, len(ids))
    with ExitStack() as stack:
        team = None
        if others > 1:  # which load the bundle while the rest of the question is looked at
            first = asked["recommender"], question, ending, ids[0]
            team = stack.enter_context(closing(Team.start(others, recommender, *first)))

        def blocks(done: int) -> Iterator[Block]:
            tasks = partial(_tasks, ids, size, done)
            if team is not None:
                try:
                    yield from team.answers(tasks())
                    return
                except Changed:
                    if processes:
                        raise
            yield from in_order(lambda task: task.block(recommender, question, ending), tasks(), threads)

        asked = {"answers": "shortlists", **asked, "users": _digest(ids), **_said(question)}
        return write(Target(Path(path), asked, len(ids)), blocks, force=force, tell=tell)


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
    require_counts(threads=threads, block=block)
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


# Blocks


def _known(recommender: Recommender) -> Sequence[str]:
    values: Sequence[Any] = recommender.users.vocabulary.values
    return values


def _num_processes(recommender: Recommender, processes: int, threads: int, num_users: int) -> int:
    if processes > 1 and threads > 1:
        raise RequestError(
            f"{threads} threads do not go with {processes} processes: each of these answers on one thread",
            hint="give one of the two",
        )
    if processes:
        return int(processes)
    pays = num_users >= _MANY and not threads and folder_of(recommender) is not None
    return processors() if pays else 1


def _tasks(ids: Sequence[str], size: int, done: int) -> Iterator[Task]:
    for start in range(done, len(ids), size):
        yield Task(list(ids[start : start + size]), first=not start)


def _users_each(recommender: Recommender, num_users: int, k: int) -> int:
    even = max(_FEW, -(-num_users // _BLOCKS))
    return max(1, min(even, _USERS, _ROWS // k, _SCORES // max(1, len(recommender.items))))


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
        "neighbour_id": texts(ids, others[order][kept]),
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


def _said(question: Question) -> dict[str, Any]:
    filters = question.filters
    lists = {name: filters[name] for name in ("exclude", "only") if filters[name] is not None}
    return {
        "filter_seen": filters["filter_seen"],
        **{name: _digest(listed) for name, listed in lists.items()},
        "where": filters["where"],
        "context": json.loads(json.dumps(question.context, default=str)),
    }


def _digest(ids: Sequence[Any]) -> str:
    """How many ids, and which: a short hash of their texts."""
    digest = hashlib.sha256()
    for start in range(0, len(ids), _ROWS):
        digest.update(json.dumps(list(map(str, ids[start : start + _ROWS]))).encode())
    return f"{len(ids)} ids {digest.hexdigest()[:16]}"
