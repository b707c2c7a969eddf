"""An approximate index: inverted lists say which items lie near, exact vectors say in which order.

What the lists find is scored again with the float32 rows, so scores and order are exact; what they do not
find is missed, and how much that is was measured when the index was built. Items that came or changed since
lie beside the lists and are searched exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from weakref import ref

import msgspec
import numpy as np

from shortlist._typing import Array, Bools, Doubles, Floats, Found, Longs, Relation
from shortlist.index.asked import Asked
from shortlist.index.exact import ExactIndex, require_search
from shortlist.index.ivf import Lists, bits_of, cleared
from shortlist.index.mapped import save_lists
from shortlist.index.rows import Rows, blocks
from shortlist.index.ties import best, products, scored, slack_for
from shortlist.index.top import top_of_found, top_of_pairs
from shortlist.state.storage import save_array, save_json

_QUERIES = 64  # searched at once
_HEAVY = 512  # a query that drops more items than this has them left out inside the lists
_AGAIN = 8  # times as many lists for queries that found too few
_REMEMBERED = 64  # filters
_BESIDES = 16  # fetched in any case, beyond what is asked for: of few results each weighs much


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """How the lists are searched and what was measured when they were built.

    probes: (share of items allowed, lists looked into to reach the target), from all items down. few: with
    so many allowed or fewer, those are searched exactly. fetched: what the lists are asked for each result,
    and scored exactly. recall: share of the exact best `k` that
    the lists give, nothing filtered, for queries the probes were not tuned on. queries: "given", or "items"
    where vectors of items, moved, stood in. log_z_error: mean absolute error of the estimated log sum exp.
    normalized: all vectors have one length.
    """

    target: float
    recall: float
    k: int
    probes: tuple[tuple[float, int], ...]
    few: int
    queries: str
    log_z_error: float
    normalized: bool
    seconds: float = 0.0
    fetched: float = 1.1

    def nprobe(self, share: float) -> int:
        """Lists to look into where so large a share of the items is allowed."""
        shares = np.log([at for at, _ in reversed(self.probes)])
        counts = np.log([count for _, count in reversed(self.probes)])
        wanted = np.log(max(share, 1e-9))
        found = np.interp(wanted, shares, counts)
        if wanted < shares[0] and len(shares) > 1:  # beyond what was tuned: as steep as before
            found = counts[0] + (shares[0] - wanted) * (counts[0] - counts[1]) / (shares[1] - shares[0])
        return int(np.ceil(np.exp(found) - 1e-9))


@dataclass(frozen=True, eq=False)
class Wanted:
    """What may be found: bits, open_lists for `Lists.probe`, mask [N] (None: all), count, share of all; and
    nprobe, how many lists are looked into for it."""

    bits: Array | None
    open_lists: Bools | None
    mask: Bools | None
    count: int
    share: float
    nprobe: int


@dataclass(frozen=True, eq=False)
class AnnIndex:
    """Make one with `shortlist.index.build`. A snapshot: threads may search it, changes make another.

    lists: of the vectors 0..M-1 as they were when built; fresh: positions, ascending, whose vectors have
    changed since, or that came since: searched exactly. sample: positions drawn alike from each list, and how
    many each of them stands for, to estimate log sum exp from.
    """

    exact: ExactIndex
    lists: Lists = field(repr=False)
    tuned: Tuned
    sample: Longs = field(repr=False)
    stands_for: Doubles = field(repr=False)
    fresh: Longs = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    _known: dict[Any, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        rows, size = self.exact.rows, len(self.lists)
        gone = np.union1d(self.fresh[self.fresh < size], rows.removed[rows.removed < size])
        bits = cleared(bits_of(np.ones(size, np.bool_)), gone) if len(gone) else None
        left = len(rows) - len(rows.removed)
        self._known["all"] = Wanted(bits, None, rows.present(None), left, 1.0, self.tuned.nprobe(1.0))
        self._known["fresh"] = rows.vectors(np.setdiff1d(self.fresh, rows.removed))
        self._known["there"] = np.setdiff1d(self.fresh, rows.removed)
        kept = np.isin(self.sample, gone, invert=True)
        self._known["sample"] = rows.vectors(self.sample[kept])
        self._known["longest sampled"] = Rows.of(self._known["sample"]).longest
        self._known["weights"] = self.stands_for[kept].astype(np.float32)

    @property
    def kind(self) -> str:
        return "ann"

    @property
    def removed(self) -> Longs:
        return self.exact.removed

    def __len__(self) -> int:
        return len(self.exact)

    def search(
        self,
        queries: Floats,
        k: int,
        *,
        allow: Bools | None = None,
        exclude: Relation | None = None,
        bonus: tuple[Relation, float] | None = None,
        log_z: bool = False,
    ) -> Found:
        """See `Index.search`; k results wherever k are left. A mask that cannot be written to is prepared
        once and remembered as long as it lives. Raises as `ExactIndex.search`."""
        require_search(self.exact, queries, k, allow, exclude, bonus)
        wanted, k = self._wanted(allow), min(k, len(self))
        if wanted.count <= max(self.tuned.few, 10 * k):
            found = self.exact.search(queries, k, allow=allow, exclude=exclude, bonus=bonus)
            return found._replace(log_z=self.log_z(queries, bonus)) if log_z else found
        parts = []
        for part in blocks(len(queries), _QUERIES):
            asked = Asked(queries[part], part, exclude, bonus)
            found = self._found(asked, k, wanted, log_z and allow is None)
            # each query by itself: what else is asked with it must not change its answer
            lacking = np.flatnonzero(found.positions[:, -1] < 0)
            if len(lacking):
                last = asked.rows(lacking)
                best = self.exact.search(last.queries, k, allow=allow, exclude=last.exclude, bonus=last.bonus)
                found.positions[lacking], found.scores[lacking] = best.positions, best.scores
            parts.append(found)
        if len(parts) == 1 and (parts[0].log_z is not None) == log_z:
            return parts[0]
        positions = np.concatenate([np.empty((0, k), np.int32), *(found.positions for found in parts)])
        scores = np.concatenate([np.empty((0, k), np.float32), *(found.scores for found in parts)])
        if not log_z:
            return Found(positions, scores)
        known = [found.log_z for found in parts if found.log_z is not None]
        return Found(
            positions,
            scores,
            np.concatenate(known) if len(known) and allow is None else self.log_z(queries, bonus),
        )

    def by_lists(self, queries: Floats, k: int, allow: Bools | None = None) -> Floats:
        """Scores [b, k] of what `nprobe` lists give, -inf where they give fewer, however few items there are:
        what is measured of an index."""
        wanted, out = self._wanted(allow), np.empty((len(queries), k), np.float32)
        for part in blocks(len(queries), _QUERIES):
            out[part] = self._searched(Asked(queries[part], part, None, None), k, wanted).scores
        return out

    def log_z(self, queries: Floats, bonus: tuple[Relation, float] | None = None) -> Floats:
        """See `Index.log_z`: the best items found, a sample of the rest, and all that is fresh or has the
        bonus. `search` estimates it from what it finds itself, so the two may differ by as much as either is
        off."""
        require_search(self.exact, queries, 1, None, None, bonus)
        out, wanted = np.empty(len(queries), np.float32), self._known["all"]
        for part in blocks(len(queries), _QUERIES):
            asked = Asked(queries[part], part, None, bonus)
            near = self._near(asked, self.tuned.k, wanted, wanted.nprobe)
            scores = scored(asked.queries, near, self.exact.rows.vectors)
            out[part] = self._estimated(asked, near, scores, self.tuned.k)
        return out

    def updated(self, places: Longs, vectors: Floats) -> AnnIndex:
        """See `Index.updated`; raises as `Rows.updated`."""
        exact = self.exact.updated(places, vectors)
        return self._with(exact, np.union1d(self.fresh, np.asarray(places, np.int64)))

    def without(self, places: Longs) -> AnnIndex:
        """See `Index.without`; raises as `Rows.without`."""
        return self._with(self.exact.without(places), self.fresh)

    def vectors(self, positions: Longs) -> Floats:
        """See `Index.vectors`; raises as `Rows.vectors`."""
        return self.exact.vectors(positions)

    def save(self, folder: Path) -> None:
        """Write lists, settings, and which items are removed or fresh; their vectors are not in it."""
        self.exact.save(folder)
        save_lists(self.lists, folder)
        save_array(folder / "fresh.npy", self.fresh)
        save_array(folder / "sample.npy", self.sample)
        save_array(folder / "stands_for.npy", self.stands_for)
        save_json(folder / "index.json", {"kind": self.kind, "tuned": msgspec.to_builtins(self.tuned)})

    def describe(self) -> dict[str, Any]:
        """Plain values. recall: of a search for the best recall_k of all items, exact while there are no more
        than exact_below; recall_of_lists: what holds when there are more."""
        tuned, known = self.tuned, self._known
        exactly = known["all"].count <= max(tuned.few, 10 * tuned.k)
        size = self.lists.num_bytes + known["sample"].nbytes + known["fresh"].nbytes
        return {
            **self.exact.describe(),
            "kind": self.kind,
            "recall": 1.0 if exactly else tuned.recall,
            "recall_of_lists": tuned.recall,
            "recall_k": tuned.k,
            "target": tuned.target,
            "queries": tuned.queries,
            "lists": self.lists.num_lists,
            "nprobe": tuned.nprobe(1.0),
            "fetched": tuned.fetched,
            "exact_below": tuned.few,
            "log_z_error": tuned.log_z_error,
            "normalized": tuned.normalized,
            "bytes": size,
            "bytes_of_float32": len(self) * self.exact.rows.width * 4,
            "build_seconds": tuned.seconds,
            "delta": len(known["there"]),
        }

    def _with(self, exact: ExactIndex, fresh: Longs) -> AnnIndex:
        return AnnIndex(exact, self.lists, self.tuned, self.sample, self.stands_for, fresh)

    def _wanted(self, allow: Bools | None) -> Wanted:
        if allow is None:
            found: Wanted = self._known["all"]
            return found
        fixed = not allow.flags.writeable and allow.base is None
        known = self._known.get(id(allow)) if fixed else None
        if known is not None and known[0]() is allow:
            return known[1]  # type: ignore[no-any-return]
        mask, size = self.exact.rows.present(allow), len(self.lists)
        assert mask is not None
        count = int(np.count_nonzero(mask))
        share = count / max(1, self._known["all"].count)
        bits = open_lists = None
        if count > self.tuned.few:
            stale = self.fresh[self.fresh < size]
            bits = cleared(bits_of(mask[:size]), stale) if len(stale) else bits_of(mask[:size])
            if share < 0.5:
                open_lists = np.zeros(self.lists.num_lists, np.bool_)
                open_lists[self.lists.list_of[mask[:size]]] = True
        wanted = Wanted(bits, open_lists, mask, count, share, self.tuned.nprobe(share))
        if fixed:
            if len(self._known) > _REMEMBERED:
                for key in [key for key in list(self._known) if isinstance(key, int)]:
                    self._known.pop(key, None)
            self._known[id(allow)] = ref(allow), wanted
        return wanted

    def _found(self, asked: Asked, k: int, wanted: Wanted, log_z: bool) -> Found:
        """The k best of a block of queries by the lists: more lists for those that drop much, and once more,
        `_AGAIN` times as many, for those that found fewer."""
        found = self._searched(asked, k, wanted, log_z)
        times = self._times(asked, wanted)
        times[found.positions[:, -1] < 0] *= _AGAIN
        if times.max() == 1:
            return found
        for more in np.unique(times[times > 1]):
            rows = np.flatnonzero(times == more)
            better = self._searched(asked.rows(rows), k, wanted, more=int(more))
            found.positions[rows], found.scores[rows] = better.positions, better.scores
        return found

    def _times(self, asked: Asked, wanted: Wanted) -> Longs:
        """How many times as many lists each query needs for what it drops: a power of two, 1 while that would
        fill less than a quarter of those it looks into."""
        full = wanted.nprobe * max(1.0, wanted.share * len(self) / self.lists.num_lists)
        dropped = asked.dropped / full
        return np.where(dropped < 0.25, 1, 2 ** np.ceil(np.log2(1 + dropped))).astype(np.int64)

    def _searched(self, asked: Asked, k: int, wanted: Wanted, log_z: bool = False, more: int = 1) -> Found:
        """The k best of a block of queries, as far as the lists give them; `more` times as many lists."""
        near = self._near(asked, k, wanted, more * wanted.nprobe)
        scores = scored(asked.queries, near, self.exact.rows.vectors)
        total = self._estimated(asked, near, scores, k) if log_z else None
        if len(asked.items):
            scores[asked.drops(np.arange(len(near))[:, None], near, len(self))] = -np.inf
        beside = self._beside(asked, k, wanted)
        if not beside:
            return Found(*top_of_found(near, scores, k), total)
        row, column = np.nonzero(near >= 0)
        parts = [(row, near[row, column], scores[row, column]), *beside]
        rows, positions, best = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Found(*top_of_pairs(rows, positions, best, len(asked.queries), k), total)

    def _beside(self, asked: Asked, k: int, wanted: Wanted) -> list[tuple[Longs, Longs, Floats]]:
        """(row, position, score) of what is fresh and of what has the bonus."""
        parts = []
        there: Longs = self._known["there"]
        if len(there):
            scores = asked.queries @ self._known["fresh"].T
            if wanted.mask is not None:
                scores[:, ~wanted.mask[there]] = -np.inf
            place = np.minimum(np.searchsorted(there, asked.items), len(there) - 1)
            own = there[place] == asked.items
            scores[asked.item_rows[own], place[own]] = -np.inf
            places, _ = best(
                scores, min(k, len(there)), lambda row, at: self._scores(asked.queries, row, there[at])
            )
            row, column = np.nonzero(places >= 0)
            found = there[places[row, column]]
            parts.append((row, found, self._scores(asked.queries, row, found)))
        if len(asked.more):
            row, item = asked.more_rows, asked.more
            if wanted.mask is not None:
                row, item = row[wanted.mask[item]], item[wanted.mask[item]]
            scores = self._scores(asked.queries, row, item) + asked.amount
            parts.append((row, item, scores))
        return parts

    def _near(self, asked: Asked, k: int, wanted: Wanted, nprobe: int) -> Longs:
        """Positions [b, f] the lists give, enough of them for what the query drops."""
        dropped = asked.dropped
        light = dropped <= _HEAVY
        # what is dropped may be found first; the deeper the results lie the nearer they are to each other
        wide = np.ceil(np.maximum(k, dropped) * self.tuned.fetched) + np.minimum(k, dropped)
        wide = wide.astype(np.int64) + _BESIDES
        wide = np.minimum(np.where(light, wide, wide - dropped), len(self.lists))
        fetch = int(wide.max(initial=0))
        if light.all():
            near = self.lists.probe(asked.queries, fetch, nprobe, wanted.bits, wanted.open_lists)
        else:
            near = np.full((len(asked.queries), fetch), -1, np.int64)
            near[light] = self.lists.probe(
                asked.queries[light], fetch, nprobe, wanted.bits, wanted.open_lists
            )
            for row in np.flatnonzero(~light):
                near[row] = self._of_heavy(asked, int(row), fetch, wanted, nprobe)
        if (wide < fetch).any():  # what another query drops is nothing to this one
            near[np.arange(fetch) >= wide[:, None]] = -1
        return near

    def _of_heavy(self, asked: Asked, row: int, fetch: int, wanted: Wanted, nprobe: int) -> Longs:
        """Positions [f] the lists give one query, without what it drops."""
        bits = bits_of(np.ones(len(self.lists), np.bool_)) if wanted.bits is None else wanted.bits
        mine = asked.items[asked.item_rows == row]
        bits = cleared(bits, mine[mine < len(self.lists)])
        query = asked.queries[row : row + 1]
        found: Longs = self.lists.probe(query, fetch, nprobe, bits, wanted.open_lists)[0]
        return found

    def _scores(self, queries: Floats, rows: Longs, positions: Longs) -> Floats:
        return products(queries, rows, self.exact.rows.vectors, positions)

    def _estimated(self, asked: Asked, near: Longs, scores: Floats, k: int) -> Floats:
        """log sum exp: the k best items found count once, those below them as often as the sampled stand
        for."""
        queries = asked.queries
        edge = _edges(near, scores, k)
        rest = queries @ self._known["sample"].T
        # products of one pair differ by their last bits, and what was found must not count again
        rest[rest >= (edge - slack_for(queries, self._known["longest sampled"]))[:, None]] = -np.inf
        listed = np.where(scores >= edge[:, None], scores, np.float32(-np.inf))
        fresh = queries @ self._known["fresh"].T
        mask = self._known["all"].mask
        row, item = asked.more_rows, asked.more
        if mask is not None:
            row, item = row[mask[item]], item[mask[item]]
        own = self._scores(queries, row, item)
        shift = listed.max(axis=1, initial=-np.inf)
        alone = np.flatnonzero(np.isneginf(shift))  # nothing was found, so that all of the sample counts
        shift[alone] = rest[alone].max(axis=1, initial=-np.inf)
        shift = np.maximum(shift, fresh.max(axis=1, initial=-np.inf))
        np.maximum.at(shift, row, own)
        shift = np.where(np.isfinite(shift), shift, np.float32(0))
        total = np.zeros(len(queries))
        for part, weights in ((listed, None), (rest, self._known["weights"]), (fresh, None)):
            part -= shift[:, None]  # nobody else has them: the scores are not needed again
            np.exp(part, out=part)
            total += part.sum(axis=1, dtype=np.float64) if weights is None else part @ weights
        if len(row):
            power = np.exp((own - shift[row]).astype(np.float64))
            total += np.bincount(row, power * np.expm1(asked.amount), len(queries))
            # what has the bonus is known; without it the sample may have missed it
            total = np.maximum(total, np.bincount(row, power * np.exp(asked.amount), len(queries)))
        with np.errstate(divide="ignore"):
            estimate: Floats = (shift + np.log(total)).astype(np.float32)
        return estimate


def _edges(near: Longs, scores: Floats, k: int) -> Floats:
    """The k-th best score of each row [b], or the least where fewer were found; inf where none was."""
    out: Floats = np.full(len(scores), np.inf, np.float32)
    if scores.shape[1] >= k:
        out = np.partition(scores, -k, axis=1)[:, -k]
        if out.min(initial=np.inf) > -np.inf:  # what was not found has -inf
            return out
    counts = np.count_nonzero(near >= 0, axis=1)
    full = counts >= k
    out[~full] = np.inf
    for row in np.flatnonzero(~full & (counts > 0)):
        out[row] = scores[row, near[row] >= 0].min()
    return out
