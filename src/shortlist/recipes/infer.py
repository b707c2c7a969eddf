"""A model and its training, inferred from training rows: a pure function, with a reason for every choice.

Test rows are never read, nor are validation rows: only whether there are any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import polars as pl
from msgspec.structs import replace

from shortlist.data.splits import Split
from shortlist.errors import DataError, SpecError, did_you_mean
from shortlist.index.build import choose as choose_index
from shortlist.recipes.inputs import REPEATED, Choice, Shape, choose
from shortlist.recipes.sizes import (
    BIAS_L2,
    HEAD_DROPOUT,
    HEAD_HIDDEN,
    HEAD_L2,
    PAST,
    RATING_L2,
    SIDE_L2,
    USER_DROPOUT,
    Facts,
    Sizes,
)
from shortlist.specs.aggregates import Affinity, Aggregate, AggregateSpec, Context
from shortlist.specs.features import Bag, Bucket, FeatureSpec, History, Id
from shortlist.specs.models import ModelSpec, MultiTask, Ranker, Tower, TwoTower
from shortlist.specs.recipe import Auto, Goal, Serving
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.specs.training import Adam, Training

NOT_KINDS = ("user_id", "item_id", "popularity", "activity")
"""Names that mean something else in an aggregate; so do columns that users have too."""
ROLES = ("user_id", "item_id", "rating", "timestamp", "weight")
Features = tuple[FeatureSpec, ...]
_TEMPERATURE = 0.1  # where cosines' scale starts; it is learned


@dataclass(frozen=True)
class Inferred:
    """A model, its training, and why they are as they are, a sentence a choice."""

    model: ModelSpec
    training: Training
    reasons: tuple[str, ...]


def infer(split: Split, goal: Goal | Auto = "two-stage", *, seed: int = 42) -> Inferred:
    """A model and its training for a split's training rows.

    goal: "retrieval", "rating" or "two-stage" (both in one model; where there are no ratings to predict it
    retrieves alone). Which features there are follows from the columns, sizes and regularisation from how
    many rows, users and items there are. The same training rows give the same answer.
    Raises DataError without training rows, or for goal "rating" without ratings; SpecError for another goal.
    """
    goal = goal.goal if isinstance(goal, Auto) else goal
    if not isinstance(split, Split):
        raise DataError(
            f"infer needs a Split, got {type(split).__name__}", hint="shortlist.splits.random(data, test=0.2)"
        )
    if goal not in get_args(Goal):
        raise SpecError(f"there is no goal {goal!r}", hint=did_you_mean(str(goal), get_args(Goal)))
    facts = Facts.of(split)
    if goal == "rating" and not facts.rated:
        raise DataError(
            "there are no ratings to predict: the interactions need a column 'rating' with different values",
            hint='name one with rating=, or use goal="retrieval"',
        )
    plan = _Plan(split, facts, Sizes.of(facts, goal))
    rates = goal != "retrieval" and facts.rated
    if goal == "rating":
        model: ModelSpec = Ranker(*_rating_towers(plan), tasks=(_rating(plan, alone=True),))
    elif rates:
        model = MultiTask(*_retrieval_towers(plan), tasks=(_retrieval(plan), _rating(plan, alone=False)))
    else:
        model = TwoTower(*_retrieval_towers(plan), _retrieval(plan))
    reasons = (*_about(facts, goal), *plan.sizes.reasons(facts, goal), *plan.reasons(rates=rates))
    return Inferred(model, _training(plan.sizes, seed), reasons)


def approximate(model: ModelSpec, serving: Serving, num_items: int) -> bool:
    """Whether so many items of a model will be searched approximately."""
    width = model.candidate.out or max(model.candidate.table_dims, default=1)
    kind = choose_index(num_items, width, serving.index, serving.latency_ms)
    return model.retrieval is not None and kind == "ann"


def for_index(model: ModelSpec, serving: Serving, num_items: int) -> tuple[ModelSpec, tuple[str, ...]]:
    """An inferred model as its index needs it, and why: vectors of one length where it is approximate."""
    task = model.retrieval
    if task is None or not approximate(model, serving, num_items):
        return model, ()
    suited = replace(
        task, normalize=True, temperature=_TEMPERATURE, learned_temperature=True, item_bias=False
    )
    reason = f"{num_items:,} items are searched approximately: vectors have one length, items no bias"
    if isinstance(model, TwoTower):
        return replace(model, task=suited), (reason,)
    assert isinstance(model, MultiTask)
    others = tuple(suited if one is task else one for one in model.tasks)
    return replace(model, tasks=others), (reason,)


@dataclass(frozen=True)
class _Plan:
    """What every part of the model is made of."""

    split: Split
    facts: Facts
    sizes: Sizes

    def choices(self, table: str, dim: int, l2: float) -> list[Choice]:
        """What is made of each column of "users", "items" or "interactions"."""
        rows_each = self.facts.rows / self.facts.users if table == "users" else 1.0
        return choose(_columns(self.split, table), Shape(dim, rows_each, l2))

    def features(self, table: str, dim: int, l2: float) -> Features:
        return tuple(c.feature for c in self.choices(table, dim, l2) if c.feature is not None)

    def reasons(self, *, rates: bool) -> list[str]:
        out = []
        for table in ("users", "items", "interactions"):
            for choice in self.choices(table, self.sizes.dim, SIDE_L2):
                used = rates or table != "interactions"
                what = type(choice.feature).__name__ if choice.feature is not None and used else "left out"
                why = choice.reason if used else "retrieval reads nothing that may follow from the choice"
                out.append(f"{table}.{choice.column}: {what}; {why}")
        return out


def _about(facts: Facts, goal: Goal) -> list[str]:
    out = [
        f"{facts.rows:,} training rows of {facts.users:,} users and {facts.items:,} items,"
        f" {facts.typical:g} of the median user",
        "timestamps: a row sees strictly earlier events"
        if facts.timed
        else "no timestamps: a row sees all other training rows (leave-one-out, not in order of time)",
    ]
    if not facts.rated and goal == "two-stage":
        out.append("no ratings: retrieval alone")
    return out


def _columns(split: Split, table: str) -> pl.DataFrame:
    """The columns of the users, the items or the interactions of training rows, without ids and roles. Where
    interactions and users have a column of one name none of the users' is read."""
    train = split.train
    if table == "interactions":
        return train.drop([name for name in ROLES if name in train.columns])
    key = "user_id" if table == "users" else "item_id"
    whole = split.users if table == "users" else split.items
    if table == "users" and set(whole.columns) & set(train.columns) - {"user_id"}:
        whole = whole.select("user_id")
    known = train.select(key).unique()
    return whole.join(known, on=key, how="semi", maintain_order="left").drop(key)


def _retrieval_towers(plan: _Plan) -> tuple[Tower, Tower]:
    """The user's past, who they are where the order of time lets that say more than the past, and side
    columns; against the item's id and columns. No column of the row itself: it may follow from the choice."""
    dim, lost, as_of = plan.sizes.dim, plan.sizes.event_dropout, plan.facts.as_of
    past: list[FeatureSpec] = [Bag(dim=dim, as_of=as_of, event_dropout=lost)]
    if plan.facts.timed:
        past = [
            History(dim=dim, length=PAST, event_dropout=lost),
            *past,
            *(Bucket(name, 20, dim, "quantile", l2=SIDE_L2) for name in plan.facts.counted),
            Id("user_id", dim, dropout=USER_DROPOUT),
        ]
    query = Tower(
        (*past, *plan.features("users", dim, SIDE_L2)),
        combine="sum",
        hidden=(2 * dim,),
        residual=True,
        out_dropout=plan.sizes.out_dropout,
    )
    return query, Tower((Id("item_id", dim), *plan.features("items", dim, SIDE_L2)), combine="sum")


def _retrieval(plan: _Plan) -> Retrieval:
    loss: Literal["full", "in_batch"] = "full" if plan.sizes.whole else "in_batch"
    return Retrieval(loss=loss, item_bias=True, seen=plan.facts.as_of)


def _rating_features(plan: _Plan) -> tuple[Features, Features]:
    """Ids, the past with and without its ratings, side columns and those of the row: of each side."""
    dim, as_of = plan.sizes.rating_dim, plan.facts.as_of
    query = (
        Id("user_id", dim, l2=RATING_L2),
        Bag(dim=dim, rated=True, as_of=as_of, l2=RATING_L2),
        Bag(dim=dim, as_of=as_of, l2=RATING_L2),
        *plan.features("users", dim, RATING_L2),
        *plan.features("interactions", dim, RATING_L2),
    )
    return query, (Id("item_id", dim, l2=RATING_L2), *plan.features("items", dim, RATING_L2))


def _rating_towers(plan: _Plan) -> tuple[Tower, Tower]:
    query, candidate = _rating_features(plan)
    return Tower(query, combine="sum"), Tower(candidate, combine="sum")


def _rating(plan: _Plan, *, alone: bool) -> Rating:
    """Where it is not alone its features are its own, beside retrieval's vectors projected to their width."""
    query, candidate = ((), ()) if alone else _rating_features(plan)
    return Rating(
        hidden=HEAD_HIDDEN,
        interaction="product",
        dim=0 if alone else plan.sizes.rating_dim,
        activation="gelu",
        dropout=HEAD_DROPOUT,
        bias_l2=BIAS_L2,
        l2=HEAD_L2,
        query=query,
        candidate=candidate,
        aggregates=_aggregates(plan),
    )


def _aggregates(plan: _Plan) -> tuple[AggregateSpec, ...]:
    """Means, counts and spreads of the user and of the item; the user's affinity to the item's kind; with
    times also the user's and the item's latest, and pauses."""
    as_of, things = plan.facts.as_of, _columns(plan.split, "items")
    out: list[AggregateSpec] = [
        Aggregate((key,), statistic, as_of=as_of)
        for key in ("user_id", "item_id")
        for statistic in ("mean", "count", "spread")
    ]
    if plan.facts.timed:
        out += [Aggregate(("user_id",), last=last, as_of=as_of) for last in (3, 10)]
        out += [Aggregate(("item_id",), last=20, as_of=as_of)]
        out += [Context("gap", as_of=as_of), Context("since_first", as_of=as_of)]
    out.append(Affinity(near="popularity", width=0.7, as_of=as_of))
    theirs = {*plan.split.users.columns, *NOT_KINDS}
    kinds = [name for name in things.columns if name not in theirs and _groups(things[name])]
    out += [Affinity(tags=name, as_of=as_of) for name in kinds]
    return tuple(out)


def _groups(column: pl.Series) -> bool:
    """Whether a column puts items into groups: lists of texts, or texts that repeat."""
    if column.dtype == pl.List(pl.String):
        return column.explode().n_unique() > 1
    return column.dtype == pl.String and 1 < column.n_unique() <= len(column) / REPEATED


def _training(sizes: Sizes, seed: int) -> Training:
    return Training(
        epochs=sizes.epochs,
        batch_size=sizes.batch_size,
        optimizer=Adam(sizes.learning_rate, schedule="cosine", warmup=0.05, beta2=0.99),
        seed=seed,
        patience=sizes.patience,
        members=sizes.members,
    )
