"""`evaluate`: a recommender on test rows, beside tuned baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from shortlist._typing import MISSING_INT, Array, Columns, Doubles, Floats, Ints
from shortlist.api.preparing import positions_of, user_indices
from shortlist.api.sources import read_data, split_data
from shortlist.baselines.interactions import Interactions
from shortlist.data.columns import to_columns
from shortlist.data.dataset import Dataset
from shortlist.data.splits import Split, parse_rule
from shortlist.data.tables import join_users
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError, did_you_mean
from shortlist.evaluation import metrics
from shortlist.evaluation.compare import evaluate as judge
from shortlist.evaluation.report import Report
from shortlist.evaluation.rows import Predictions, Skipped, TestRows
from shortlist.evaluation.suite import baseline_predictions
from shortlist.features.fitted import type_of
from shortlist.index.exact import Ranks, count_ranks, search
from shortlist.pipeline.questions import query_columns
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Candidates, Utility, order, rank, retrieve
from shortlist.specs.recipe import Recipe
from shortlist.state.seen import Seen

if TYPE_CHECKING:
    from shortlist.api.fitting import Fitted

CARVED = 0.1
"""Share of the training rows baselines are tuned on where a split has no validation rows."""
MODEL = "Shortlist"

Counter = Callable[[Floats, Floats, Ints, Seen, Ints], Ranks]
Tell = Callable[[str, int, int], None]


def evaluate(
    model: Fitted | Recommender,
    test: pl.DataFrame | None = None,
    *,
    split: Split | None = None,
    baselines: bool = True,
    k: Sequence[int] = (10, 100),
    resamples: int = 1000,
    name: str = MODEL,
    protocol: Mapping[str, Any] | None = None,
    history: Mapping[str, Sequence[float]] | None = None,
    tell: Tell | None = None,
) -> Report:
    """Judge a model on test rows (the split's own by default), beside baselines on the same rows.

    Baselines are tuned on the split's validation rows, or on a tenth carved from train by the same rule, and
    refitted on both. A Fitted knows its split; a Recommender needs `split`. Unknown users get what
    `recommend` gives them: popularity. Raises DataError for rows with items outside the catalogue, and for
    tables without a column the model reads, or with another type in it.
    """
    counter: Counter = numpy_counter
    if isinstance(model, Recommender):
        recommender = model
    else:
        split, history = split or model.split, history or model.history
        recommender, counter = model.recommender(), compiled_counter
    if split is None:
        raise DataError("a Recommender does not hold its split", hint="evaluate(recommender, split=...)")
    split = _fitting(recommender, split)
    case = _Case.of(recommender, split, split.test if test is None else test)
    entrants: list[Predictions | Skipped] = [_entrant(recommender, case, counter, name)]
    if baselines:
        entrants = [*_baselines(recommender, split, case, tell), *entrants]
    stated = {**(protocol or {}), "split": split.rule, "seed": split.seed, "leaks": split.leaks}
    stated["trained on"] = _trained_on(recommender, case.rows)
    return judge(
        entrants,
        case.rows,
        tuple(k),
        resamples=resamples,
        protocol={key: value for key, value in stated.items() if value not in (None, "")},
        stages=stage_figures(recommender, case, min(k), [recommender.utility.rating_weight]),
        history=history,
    )


@dataclass(frozen=True)
class _Case:
    """Test rows as arrays, with the query of each. liked: rated no worse than the mean of earlier rows."""

    rows: TestRows
    queries: Columns
    liked: Array

    @classmethod
    def of(cls, recommender: Recommender, split: Split, test: pl.DataFrame) -> _Case:
        if test.height == 0:
            raise DataError("there are no test rows to evaluate on", hint="use a larger test share")
        known = pl.concat([split.train, split.validation])
        vocabulary = recommender.users.vocabulary
        ratings = _ratings(test)
        rows = TestRows.of(
            user_indices(known, vocabulary),
            positions_of(known, split.items),
            user_indices(test, vocabulary),
            positions_of(test, split.items),
            split.items.height,
            user_keys=test["user_id"].to_numpy().astype(str),
            ratings=ratings,
        )
        given = _query_columns(recommender, join_users(test, split.users))
        queries = query_columns(recommender.schema, recommender.users, given, rows.users)
        before = _ratings(known)
        liked = np.ones(len(rows), bool)
        if ratings is not None and before is not None:
            liked = ratings >= before.mean()
        return cls(rows, queries, liked)


def _fitting(recommender: Recommender, split: Split) -> Split:
    """The split with the recommender's catalogue, whose positions its vectors and seen sets are in."""
    ids = recommender.items.ids.tolist()
    if split.items["item_id"].to_list() == ids:
        return split
    for part in (split.train, split.validation, split.test):
        strange = part.filter(~pl.col("item_id").is_in(ids))["item_id"]
        if len(strange):
            raise DataError(
                f"item {strange[0]!r} of the data is not in the recommender's catalogue of {len(ids):,} items"
                f" ({strange.n_unique():,} such items)",
                hint="evaluate on the items it was trained with, or train on this data",
            )
    return replace(split, items=pl.DataFrame({"item_id": ids}))


def _query_columns(recommender: Recommender, rows: pl.DataFrame) -> Columns:
    """The columns the query side reads, of rows joined with their users, in the types it was fitted with."""
    wanted, stored = recommender.schema.query, recommender.users.columns
    absent = [name for name in wanted if name not in rows.columns and name not in stored]
    if absent:
        raise DataError(
            f"the recommender reads the column {absent[0]!r}, which neither interactions nor users have",
            hint=did_you_mean(absent[0], rows.columns),
        )
    given = to_columns(rows, [name for name in wanted if name in rows.columns])
    for name, column in given.items():
        kind = type_of(column)
        if kind == "int" and wanted[name] == "float":
            given[name] = np.where(column == MISSING_INT, np.nan, column.astype(np.float64))
        elif kind != wanted[name]:
            raise DataError(
                f"the recommender reads the column {name!r} as {wanted[name]}, the data holds {kind}",
                hint="evaluate on data like that it was trained on",
            )
    return given


def _trained_on(recommender: Recommender, rows: TestRows) -> str:
    """How many test rows the model was trained on: none, in a split of its own."""
    user, item = recommender.users.seen.rows(rows.users).pairs()
    known = np.zeros(len(rows), bool)
    known[user[item == rows.targets[user]]] = True
    return f"{known.sum():,} of {len(rows):,} test rows name a pair of training" if known.any() else ""


def _ratings(rows: pl.DataFrame) -> Doubles | None:
    return rows["rating"].cast(pl.Float64).to_numpy() if "rating" in rows.columns else None


def numpy_counter(queries: Floats, items: Floats, targets: Ints, seen: Seen, users: Ints) -> Ranks:
    """Ranks of inner products, counted by NumPy."""
    return count_ranks(lambda rows: queries[rows] @ items.T, targets, seen, users, num_items=len(items))


def compiled_counter(queries: Floats, items: Floats, targets: Ints, seen: Seen, users: Ints) -> Ranks:
    """The same by a compiled program."""
    from shortlist.training.ranks import count_ranks as count

    return Ranks(*count(queries, items, targets, seen, users))


def _entrant(
    recommender: Recommender, case: _Case, counter: Counter, name: str, *, users: bool = True
) -> Predictions:
    """What the recommender says of every test row."""
    rows, seen = case.rows, recommender.users.seen
    ranks = user_ranks = top = ratings = None
    if recommender.retriever is not None:
        _, vectors = recommender.retriever.encode_query(case.queries)
        assert vectors is not None and recommender.item_vectors is not None
        items, first = recommender.item_vectors, _first_rows(rows)
        asked = vectors[first][rows.user_keys]
        user, targets = rows.users.astype(np.int32), rows.targets.astype(np.int32)
        popular = _popularity_ranks(recommender.items.log_popularity)

        def count(queries: Floats) -> Ranks:
            found = counter(queries, items, targets, seen, user)
            unknown = (user < 0) & ("user_id" in recommender.schema.query)
            raw, filtered = (np.where(unknown, popular[targets], r) for r in (found.raw, found.filtered))
            return Ranks(raw, filtered)

        ranks, user_ranks = count(vectors), count(asked) if users else None
        top = search(vectors[first], items, 10)[0]
    if recommender.ranker is not None and rows.ratings is not None:
        represented, _ = recommender.ranker.encode_query(case.queries)
        assert recommender.item_representations is not None
        outputs = recommender.ranker.predict(represented, recommender.item_representations[rows.targets])
        if "rating" in outputs:
            ratings = outputs["rating"].astype(np.float64)
    return Predictions(name, "model", ranks, user_ranks, ratings, top)


def _popularity_ranks(log_popularity: Array) -> Doubles:
    """The rank of every item when all are scored by popularity; ties at their mean rank."""
    ordered = np.sort(log_popularity)
    below = np.searchsorted(ordered, log_popularity, side="left")
    not_above = np.searchsorted(ordered, log_popularity, side="right")
    return 1.0 + (len(ordered) - not_above) + (not_above - below - 1) / 2


def _first_rows(rows: TestRows) -> Array:
    """The first test row of each user, by user key."""
    return np.unique(rows.user_keys, return_index=True)[1]


def _baselines(
    recommender: Recommender, split: Split, case: _Case, tell: Tell | None
) -> list[Predictions | Skipped]:
    fit_on, tune_on = (split.train, split.validation) if split.validation.height else _carve(split)
    vocabulary = recommender.users.vocabulary
    arrays = [_interactions(part, split.items, vocabulary) for part in (fit_on, tune_on)]
    return baseline_predictions(arrays[0], arrays[1], case.rows, progress=tell)


def _carve(split: Split) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Train and validation rows from a split without validation, by its own rule."""
    data = Dataset(split.train, split.users, split.items)
    rule = parse_rule(split.rule)
    amount = rule.amount if rule.kind == "hold_last" else 1 - CARVED
    try:
        carved = replace(rule, amount=amount, validation=0.0).apply(data, seed=split.seed or 0)
    except DataError:  # too few rows to carve from: baselines keep their first settings
        return split.train, split.train.clear()
    return carved.train, carved.test


def _interactions(rows: pl.DataFrame, items: pl.DataFrame, users: Vocabulary) -> Interactions:
    known = user_indices(rows, users)
    kept = known >= 0
    times = rows["timestamp"].to_numpy().astype(np.int64)[kept] if "timestamp" in rows.columns else None
    ratings = _ratings(rows)
    return Interactions(
        known[kept].astype(np.int64),
        positions_of(rows, items)[kept].astype(np.int64),
        len(users),
        items.height,
        None if ratings is None else ratings[kept],
        times,
    )


def choose_weight(fitted: Fitted, validation: pl.DataFrame, weights: Sequence[float], k: int = 10) -> float:
    """The weight of the predicted rating in the final order that orders validation rows best: the largest
    NDCG@k over users, counting the rows people liked; the smallest weight among equals."""
    recommender = fitted.recommender()
    if recommender.retriever is None or recommender.ranker is None or not validation.height:
        return 0.0
    case = _Case.of(recommender, fitted.split, validation)
    figures = stage_figures(recommender, case, k, weights)
    best = max(weights, key=lambda w: (figures[_stage_name(w)][f"ndcg@{k} (user, liked)"], -w))
    return float(best)


def _stage_name(weight: float) -> str:
    return f"two stages, rating weight {weight:g}"


def stage_figures(recommender: Recommender, case: _Case, k: int, weights: Sequence[float]) -> dict[str, Any]:
    """Retrieval alone beside two stages, one list a user, seen items left out; and the recall ceiling:
    the share of test rows whose item the retrieved candidates hold at all."""
    if recommender.retriever is None or recommender.ranker is None:
        return {}
    first = _first_rows(case.rows)
    queries = {name: column[first] for name, column in case.queries.items()}
    _, vectors = recommender.retriever.encode_query(queries)
    items, seen = recommender.item_vectors, recommender.users.seen
    assert vectors is not None and items is not None and recommender.item_representations is not None
    num = min(recommender.num_retrieved, len(items))
    found = retrieve(vectors, items, num, ~seen.mask(case.rows.users[first], len(items)))
    represented, _ = recommender.ranker.encode_query(queries)
    ranked = rank(recommender.ranker, represented, recommender.item_representations, found)
    figures: dict[str, Any] = {"retrieval only": _list_figures(found, case, k)}
    for weight in weights:
        utility = Utility(weight, recommender.utility.head)
        scores = utility(ranked.log_p, ranked.predictions)
        figures[_stage_name(weight)] = _list_figures(order(ranked, scores, num), case, k)
    figures[f"recall ceiling@{num}"] = float(np.isfinite(_list_ranks(found.positions, case.rows)).mean())
    return figures


def _list_figures(found: Candidates, case: _Case, k: int) -> dict[str, float]:
    ranks, everything = _list_ranks(found.positions, case.rows), np.ones(len(case.rows), bool)
    return {
        f"ndcg@{k} (user)": _mean_ndcg(ranks, case.rows, everything, k),
        f"ndcg@{k} (user, liked)": _mean_ndcg(ranks, case.rows, case.liked, k),
    }


def _list_ranks(lists: Ints, rows: TestRows) -> Doubles:
    """Where each test row's item stands in its user's list [U', num]; infinite where it does not."""
    hits = lists[rows.user_keys] == rows.targets[:, None]
    return np.where(hits.any(axis=1), 1.0 + hits.argmax(axis=1), np.inf)


def _mean_ndcg(ranks: Doubles, rows: TestRows, counted: Array, k: int) -> float:
    unique = metrics.first_rows(rows.user_keys, rows.targets)
    kept = unique[counted[unique]]
    return float(np.nanmean(metrics.user_ndcg(ranks[kept], rows.user_keys[kept], rows.num_users, k)))


def point_figures(fitted: Fitted, rows: pl.DataFrame, *, users: bool = True) -> dict[str, float]:
    """Figures of a fitted model on some rows, by the report's names, without baselines or intervals."""
    recommender = fitted.recommender()
    case = _Case.of(recommender, fitted.split, rows)
    found = _entrant(recommender, case, compiled_counter, MODEL, users=users)
    out: dict[str, float] = {}
    if found.ranks is not None:
        for rule, ranks in (("raw", found.ranks.raw), ("filtered", found.ranks.filtered)):
            out[f"{rule} hit_rate@100 (row)"] = float(metrics.hit(ranks, 100).mean())
    if found.user_ranks is not None:
        everything = np.ones(len(case.rows), bool)
        out["filtered ndcg@10 (user)"] = _mean_ndcg(found.user_ranks.filtered, case.rows, everything, 10)
    if found.ratings is not None and case.rows.ratings is not None:
        out["rmse"] = float(metrics.squared_error(found.ratings, case.rows.ratings).mean() ** 0.5)
    return out


def evaluate_bundle(
    path: str | Path, *, recipe: Recipe | None = None, baselines: bool = True, tell: Tell | None = None
) -> Report:
    """Judge a bundle on the test rows of its own recipe (the snapshot inside it), or of another `recipe`,
    whose data and split are then used. Raises as `evaluate` does where that data does not fit the bundle."""
    from shortlist.bundle import load

    recommender = load(path)
    if recipe is None:
        plain = recommender.provenance.get("recipe")
        if plain is None:
            raise DataError(
                f"the bundle {path} holds no recipe to find its data by",
                hint="evaluate(load(path), split=...)",
            )
        recipe = Recipe.from_dict(plain)
    data = read_data(recipe)
    return evaluate(
        recommender,
        split=split_data(recipe, data),
        protocol={"data": data.name},
        baselines=baselines,
        k=recipe.evaluation.k,
        resamples=recipe.evaluation.resamples,
        tell=tell,
    )
