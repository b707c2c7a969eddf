"""How well users are served whom training never saw, from a history in the request: MovieLens 100K.

A fifth of the users is held out whole. Of everybody the same fifth of rows is asked for, at its time, with
the user's earlier training rows as the history; the users training knew are asked in the very same way.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from shortlist._typing import Bools, Doubles
from shortlist.api.entrants import compiled_counter
from shortlist.api.preparing import positions_of, user_indices
from shortlist.bundle import load
from shortlist.data.dataset import Dataset
from shortlist.data.splits import Split
from shortlist.data.vocabulary import Vocabulary
from shortlist.evaluation import metrics
from shortlist.evaluation.intervals import Estimate, Tally, bootstrap, estimate
from shortlist.pipeline.recommender import Recommender
from shortlist.state.seen import Seen

K = 100
RESAMPLES = 2000
SAMPLE = 200
"""Test rows whose shortlists are compared with what ranks say, from Python and from the bundle."""
PROFILE = ("age", "sex", "occupation")
"""What a request may also tell of a user."""

Request = dict[str, list[Any]]


def held_users(data: Dataset, share: float = 0.2, seed: int = 42) -> list[str]:
    """A random share of the users."""
    ids = np.array(data.users["user_id"].to_list(), object)
    return sorted(np.random.default_rng(seed).choice(ids, round(share * len(ids)), replace=False).tolist())


def without_users(split: Split, held: Sequence[str]) -> Split:
    """The split without a trace of these users."""
    kept = ~pl.col("user_id").is_in(held)
    parts = {name: getattr(split, name).filter(kept) for name in ("train", "validation", "test", "users")}
    return replace(split, **parts, _rows=None)


def requests_of(rows: pl.DataFrame, known: pl.DataFrame, profiles: pl.DataFrame | None = None) -> Request:
    """One request a row: its user and time, and what the user did at an earlier second of the known rows, the
    latest first, with times and ratings. profiles: users whose other columns are told too."""
    past = known.sort("timestamp", descending=True, maintain_order=True)
    lists = {
        name: (items, np.array(times), ratings)
        for name, items, times, ratings in past.group_by("user_id", maintain_order=True)
        .agg("item_id", "timestamp", "rating")
        .iter_rows()
    }
    nothing: Any = ([], np.zeros(0), [])
    names = ("history", "history_timestamp", "history_rating")
    out: Request = {name: [] for name in ("user_id", "timestamp", *names)}
    for user, time in rows.select("user_id", "timestamp").iter_rows():
        items, times, ratings = lists.get(user, nothing)
        first = int(np.count_nonzero(times >= time))
        told = (user, time, items[first:], times[first:].tolist(), ratings[first:])
        for column, value in zip(out.values(), told, strict=True):
            column.append(value)
    if profiles is not None:
        table = rows.select("user_id").join(profiles, on="user_id", how="left", maintain_order="left")
        out |= {name: table[name].to_list() for name in PROFILE if name in table.columns}
    return out


class Served(NamedTuple):
    """Test rows, who had what in the training part, and users as numbers."""

    rows: pl.DataFrame
    seen: Seen
    users: Any

    @classmethod
    def of(cls, split: Split, rows: pl.DataFrame) -> Served:
        vocabulary = Vocabulary.of(split.train["user_id"].unique(maintain_order=True).to_list())
        had = user_indices(split.train, vocabulary), positions_of(split.train, split.items)
        return cls(rows, Seen.from_pairs(*had, len(vocabulary)), user_indices(rows, vocabulary))

    def hits(self, recommender: Recommender, requests: Request, block: int = 4096) -> Doubles:
        """1 where a row's item is among the first K that its user did not have in training, float64 [n]."""
        count = self.rows.height
        parts = [
            recommender.query_vectors({n: c[at : at + block] for n, c in requests.items()})
            for at in range(0, count, block)
        ]
        assert recommender.item_vectors is not None
        targets = recommender.items.positions(self.rows["item_id"].to_list()).astype(np.int32)
        found = compiled_counter(
            np.concatenate(parts), recommender.item_vectors, targets, self.seen, self.users
        )
        return metrics.hit(found.filtered, K)

    def listed(self, recommender: Recommender, requests: Request, chosen: Sequence[int]) -> Bools:
        """The same of some rows, by asking for shortlists; bool."""
        items, out = self.rows["item_id"].to_list(), []
        for row in chosen:
            had = recommender.items.ids[self.seen.of(int(self.users[row]))]
            asked = {name: column[row] for name, column in requests.items()}
            slate = recommender.recommend(asked, k=K, exclude=had.tolist())
            out.append(items[row] in slate["item_id"])
        return np.array(out)


def by_user(hits: Doubles, users: Any) -> tuple[Tally, int]:
    """Hits taken apart by user, and how many users there are."""
    keys = np.unique(users, return_inverse=True)[1]
    tops = np.bincount(keys, hits).astype(np.float64)
    return Tally(tops, np.bincount(keys).astype(np.float64)), len(tops)


def drawn(hits: Doubles, users: Any, seed: int) -> tuple[float, Doubles]:
    """The share of hits, and what it is when users are drawn again, [RESAMPLES]."""
    tally, count = by_user(hits, users)
    values, draws = bootstrap([tally], count, RESAMPLES, seed)
    return float(values[0]), draws[:, 0]


def estimated(hits: Doubles, users: Any, seed: int = 0) -> Estimate:
    """The share of hits with its interval."""
    return estimate(*drawn(hits, users, seed))


def users_row(
    split: Split, held: Sequence[str], without: Sequence[Recommender], whole: Sequence[Recommender]
) -> dict[str, Any]:
    """Figures of held-out users and of those trained on, means over the recommenders.

    without: of models that were trained without the held users; whole: of models that knew them, one a seed.
    """
    of_held = split.test["user_id"].is_in(held)
    visitors, members = (Served.of(split, split.test.filter(rows)) for rows in (of_held, ~of_held))
    asked = requests_of(visitors.rows, split.train)
    profiled = requests_of(visitors.rows, split.train, split.users)
    usual = requests_of(members.rows, split.train)
    new = np.mean([visitors.hits(r, asked) for r in without], axis=0)
    told = np.mean([visitors.hits(r, profiled) for r in without], axis=0)
    known = np.mean([members.hits(r, usual) for r in without], axis=0)
    same = np.mean([visitors.hits(r, asked) for r in whole], axis=0)
    shares = [drawn(hits, who.users, seed) for hits, who, seed in ((new, visitors, 1), (known, members, 2))]
    ratio = estimate(shares[0][0] / shares[1][0], shares[0][1] / shares[1][1])
    pair = [drawn(hits, visitors.users, 3) for hits in (new, same)]  # the same users drawn for both
    paired = estimate(pair[0][0] / pair[1][0], pair[0][1] / pair[1][1])
    return {
        "row": "new-users",
        "held_out": len(held),
        "rows": {"held out": visitors.rows.height, "trained on": members.rows.height},
        "figures": {
            "held out, a history told": plain(estimated(new, visitors.users)),
            "held out, age, sex and occupation told too": plain(estimated(told, visitors.users)),
            "trained on, asked alike": plain(estimated(known, members.users)),
            "the held-out users, had they been trained on": plain(estimated(same, visitors.users)),
            "held out / trained on": plain(ratio),
            "held out / the same, had they been trained on": plain(paired),
        },
        "sample": _sampled(visitors, asked, without[0]),
    }


def plain(found: Estimate) -> dict[str, float]:
    """For JSON."""
    return {"value": found.value, "low": found.low, "high": found.high}


def _sampled(served: Served, requests: Request, recommender: Recommender) -> dict[str, int]:
    """Of a sample of rows, whether the item is in the shortlist that is returned: as the ranks say, and the
    same from Python and from a bundle on its own."""
    count = min(SAMPLE, served.rows.height)
    chosen = np.random.default_rng(0).choice(served.rows.height, count, replace=False).tolist()
    ranked = served.hits(recommender, requests)[chosen] > 0
    with tempfile.TemporaryDirectory() as folder:
        recommender.save(Path(folder) / "bundle")
        from_bundle = served.listed(load(Path(folder) / "bundle"), requests, chosen)
    listed = served.listed(recommender, requests, chosen)
    return {
        "rows": count,
        "listed as ranked": int((listed == ranked).sum()),
        "bundle as Python": int((from_bundle == listed).sum()),
    }
