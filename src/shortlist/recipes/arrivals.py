"""Cold start on MovieLens 100K: users and items that training never saw, every figure of
docs/guides/cold-start.md.

A tenth of the items (of those with ten rows or more) is held out: all their rows leave the training part, and
the items are added to the fitted recommender by `add_items`. They are judged on the test rows of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import polars as pl

from shortlist._typing import Doubles
from shortlist.api.cases import Case, aligned
from shortlist.api.entrants import compiled_counter
from shortlist.api.fitting import Fitted, fit
from shortlist.api.preparing import positions_of, user_indices
from shortlist.data.dataset import Dataset
from shortlist.data.movielens import movielens
from shortlist.data.splits import Split, random
from shortlist.evaluation import metrics
from shortlist.index.ranks import count_ranks
from shortlist.pipeline.recommender import Recommender
from shortlist.recipes.accuracy import SEED, shipped
from shortlist.recipes.visitors import K, estimated, held_users, plain, users_row, without_users
from shortlist.specs.features import FeatureSpec, Id
from shortlist.specs.models import Model

Tell = Callable[[str, int, int], None]
RECIPE = "ml100k-retrieval"
ID_DROPOUT = 0.2
"""Chosen on other held-out items and validation rows, as `choice_row` tells."""
SHARES = (0.0, 0.1, 0.2, 0.3, 0.5)
OTHER_SEED = 7
"""Draws the held-out items that the choice was made on."""
LEAST_ROWS = 10


def held_items(
    data: Dataset, share: float = 0.1, seed: int = SEED, *, apart: Sequence[str] = ()
) -> list[str]:
    """A random share of the items with at least LEAST_ROWS rows, none of those that are `apart`."""
    counts = dict(data.interactions["item_id"].value_counts().iter_rows())
    ids = [i for i in data.items["item_id"].to_list() if counts.get(i, 0) >= LEAST_ROWS]
    free = np.array([i for i in ids if i not in set(apart)], object)
    return sorted(np.random.default_rng(seed).choice(free, round(share * len(ids)), replace=False).tolist())


def without_items(split: Split, held: Sequence[str]) -> Split:
    """The split without a trace of these items."""
    kept = ~pl.col("item_id").is_in(held)
    parts = {name: getattr(split, name).filter(kept) for name in ("train", "validation", "test", "items")}
    return replace(split, **parts, _rows=None)


def with_id_dropout(model: Model, share: float) -> Model:
    """The model with `id_dropout` of its item ids."""

    def dropping(feature: FeatureSpec) -> FeatureSpec:
        return msgspec.structs.replace(feature, id_dropout=share) if isinstance(feature, Id) else feature

    tower = model.candidate
    changed = msgspec.structs.replace(tower, features=tuple(map(dropping, tower.features)))
    return msgspec.structs.replace(model, candidate=changed)


def fitted(split: Split, seed: int, id_dropout: float = 0.0) -> Fitted:
    """The shipped recipe on the training rows of a split."""
    recipe = shipped(RECIPE)
    model: Any = with_id_dropout(recipe.model, id_dropout) if id_dropout else recipe.model
    return fit(model, split, training=recipe.training, seed=seed)


def hits(recommender: Recommender, split: Split, rows: pl.DataFrame) -> Doubles:
    """1 where a row's item is among the first K of the catalogue less what its user had, float64 [n]."""
    case = Case.of(recommender, aligned(recommender, split), rows)
    assert recommender.retriever is not None and recommender.item_vectors is not None
    _, vectors = recommender.retriever.encode_query(case.queries)
    assert vectors is not None
    targets, users = case.rows.targets.astype(np.int32), case.rows.users.astype(np.int32)
    found = compiled_counter(vectors, recommender.item_vectors, targets, recommender.users.seen, users)
    return metrics.hit(found.filtered, K)


def popularity_hits(recommender: Recommender, rows: pl.DataFrame, popularity: Doubles) -> Doubles:
    """The same where all users are shown the items of greatest popularity [N], ties at their mean rank."""
    targets = recommender.items.positions(rows["item_id"].to_list())
    users = user_indices(rows, recommender.users.vocabulary)
    scores = np.broadcast_to(popularity, (len(users), len(popularity)))
    found = count_ranks(lambda part: scores[part], targets, recommender.users.seen, users)
    return metrics.hit(found.filtered, K)


def chance(recommender: Recommender, rows: pl.DataFrame) -> Doubles:
    """The chance that a row's item is among K items drawn from those its user did not have, [n]."""
    users = user_indices(rows, recommender.users.vocabulary)
    had = np.diff(recommender.users.seen.rows(users).indptr)
    return K / (len(recommender.items) - had)


# The rows


def items_row(
    split: Split,
    held: Sequence[str],
    dropping: Sequence[Recommender],
    plain_ones: Sequence[Recommender],
    whole: Sequence[Recommender],
) -> dict[str, Any]:
    """Figures of held-out items and of the others, means over the recommenders, one a seed.

    dropping, plain_ones: trained without the held items, with id dropout and without; whole: on all rows.
    """
    new = split.items.filter(pl.col("item_id").is_in(held))
    theirs = split.test.filter(pl.col("item_id").is_in(held))
    others = split.test.filter(~pl.col("item_id").is_in(held))
    rest = without_items(split, held)
    rest = replace(rest, test=rest.test.clear())

    def mean(recommenders: Sequence[Recommender], rows: pl.DataFrame) -> dict[str, float]:
        found = np.mean([hits(r, rest, rows) for r in recommenders], axis=0)
        return plain(estimated(found, rows["user_id"].to_numpy()))

    def same(found: Doubles) -> dict[str, float]:
        return plain(estimated(found, theirs["user_id"].to_numpy()))

    grown, bare = ([r.add_items(new) for r in rs] for rs in (dropping, plain_ones))
    first = grown[0]
    table = pl.DataFrame({"item_id": first.items.ids.tolist()})
    counts = np.bincount(positions_of(split.train, table), minlength=len(first.items)).astype(np.float64)
    return {
        "row": "new-items",
        "held_out": len(held),
        "rows": {"of new items": theirs.height, "of other items": others.height},
        "id_dropout": ID_DROPOUT,
        "figures": {
            "new, with id dropout": mean(grown, theirs),
            "new, without": mean(bare, theirs),
            "new, at random": same(chance(first, theirs)),
            "new, by popularity": same(popularity_hits(first, theirs, first.items.log_popularity)),
            "new, by popularity had it been known": same(popularity_hits(first, theirs, counts)),
            "new, had they been trained on": mean(whole, theirs),
            "others, with id dropout": mean(dropping, others),
            "others, without": mean(plain_ones, others),
            "others, with id dropout, beside the new": mean(grown, others),
            "others, without, beside the new": mean(bare, others),
        },
    }


def choice_row(data: Dataset, held: Sequence[str], tell: Tell) -> dict[str, Any]:
    """What the share of dropped ids was chosen by: other held-out items, judged on validation rows. Test rows
    and the items they are judged on are not in it."""
    split = without_items(random(data, test=0.2, validation=0.1, seed=SEED), held)
    others = held_items(data, seed=OTHER_SEED, apart=held)
    is_new = pl.col("item_id").is_in(others)
    rest = replace(without_items(split, others), test=split.test.clear())
    rest = replace(rest, validation=rest.validation.clear())
    told = []
    for done, share in enumerate(SHARES):
        tell(f"id dropout {share:g} on validation rows", done, len(SHARES))
        before = fitted(rest, SEED, share).recommender()
        after = before.add_items(split.items.filter(is_new))
        of_new, of_others = split.validation.filter(is_new), split.validation.filter(~is_new)
        told.append(
            {
                "id_dropout": share,
                "new": float(hits(after, rest, of_new).mean()),
                "others": float(hits(before, rest, of_others).mean()),
                "others beside the new": float(hits(after, rest, of_others).mean()),
            }
        )
    return {"row": "choice", "held_out": len(others), "shares": told}


def reproduce_arrivals(
    *, seeds: int = 3, tell: Tell | None = None, data: Dataset | None = None, choice: bool = True
) -> list[dict[str, Any]]:
    """The rows of new users, of new items and, if asked for, of the choice of `id_dropout`."""
    say = tell or (lambda stage, done, total: None)
    data = movielens("100k") if data is None else data
    split = random(data, test=0.2, seed=SEED)
    people, things = held_users(data, seed=SEED), held_items(data)
    without = {"users": without_users(split, people), "items": without_items(split, things), "": split}
    plan = [("users", 0.0), ("items", ID_DROPOUT), ("items", 0.0), ("", 0.0)]
    made: dict[tuple[str, float], list[Recommender]] = {of: [] for of in plan}
    for k in range(seeds):
        for number, (what, share) in enumerate(plan):
            say(f"seed {SEED + k}, without {what or 'nothing'}", k * len(plan) + number, seeds * len(plan))
            made[what, share].append(fitted(without[what], SEED + k, share).recommender())
    users, dropping, bare, whole = (made[of] for of in plan)
    rows = [users_row(split, people, users, whole), items_row(split, things, dropping, bare, whole)]
    rows = [{**row, "seeds": [SEED + k for k in range(seeds)]} for row in rows]
    return [*rows, *([choice_row(data, things, say)] if choice else [])]
