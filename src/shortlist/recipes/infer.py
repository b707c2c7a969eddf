"""A model and its training, inferred from training rows: a pure function, with a reason for every choice.

Test rows are never read, nor are validation rows: only whether there are any.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import log2

import polars as pl

from shortlist.data.splits import Split
from shortlist.errors import DataError
from shortlist.recipes.inputs import Choice, Shape, choose
from shortlist.specs.aggregates import Affinity, Aggregate, AggregateSpec, Context
from shortlist.specs.features import AsOf, Bag, Bucket, Cyclic, FeatureSpec, History, Id
from shortlist.specs.models import ModelSpec, MultiTask, Ranker, Tower, TwoTower
from shortlist.specs.recipe import Auto, Goal
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.specs.training import Adam, Training

ROLES = ("user_id", "item_id", "rating", "timestamp", "weight")


@dataclass(frozen=True)
class Sizes:
    """How numbers follow from the data. Found on validation rows of several tables."""

    dims: tuple[int, int] = (16, 64)
    dim_per_bit: float = 1.75  # of log2(rows) + log2(items): 48 for 100,000 rows of 1,682 items
    steps: int = 700  # of a run: small tables get more epochs
    epochs: tuple[int, int] = (6, 30)
    batches: tuple[int, int] = (64, 1000)
    rows_per_batch: int = 100  # a batch is about one such share of the rows
    full_softmax: int = 20_000  # items up to which every one is a negative
    history: int = 50  # last events in order of time
    dropout_events: float = 2.0  # share of events dropped: sqrt(this / the median user's events)
    dropouts: tuple[float, float] = (0.1, 0.5)
    l2: float = 0.02
    learning_rate: float = 0.01
    hidden: int = 1
    user_id: bool = False
    user_dropout: float = 0.5
    item_dropout: float = 0.0
    table_l2: float = 0.0
    time: int = 0
    cyclic: bool = False
    tower_dropout: float = 0.0
    out_dropout: float = 0.0
    rating_l2: float = 0.1
    rating_dropout: float = 0.4
    bias_l2: float = 0.02
    rating_hidden: tuple[int, ...] = (64, 32)
    aggregates: bool = True


SIZES = Sizes()


@dataclass(frozen=True)
class Inferred:
    """A model, its training, and why they are as they are."""

    model: ModelSpec
    training: Training
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Facts:
    """What the training rows say. typical: the median user's rows; validated: whether there are validation
    rows."""

    rows: int
    users: int
    items: int
    typical: float
    timed: bool
    rated: bool
    validated: bool

    @classmethod
    def of(cls, split: Split) -> Facts:
        train = split.train
        if not train.height:
            raise DataError("the split has no training rows")
        each = train["user_id"].value_counts()["count"]
        rated = "rating" in train.columns and train["rating"].n_unique() > 1
        return cls(
            rows=train.height,
            users=len(each),
            items=train["item_id"].n_unique(),
            typical=float(each.median() or 1.0),  # type: ignore[arg-type]
            timed="timestamp" in train.columns and train["timestamp"].n_unique() > 1,
            rated=rated,
            validated=split.validation.height > 0,
        )

    @property
    def as_of(self) -> AsOf:
        return "row" if self.timed else "leave-one-out"


def infer(split: Split, goal: Goal | Auto = "two-stage", *, seed: int = 42) -> Inferred:
    """A model and its training for a split's training rows.

    goal: "retrieval", "rating" or "two-stage" (both in one model; where there are no ratings to predict it
    retrieves alone). Which features there are follows from the columns, sizes and regularisation from how
    many rows, users and items there are. The same training rows give the same answer.
    Raises DataError without training rows, or for goal "rating" without ratings.
    """
    goal = goal.goal if isinstance(goal, Auto) else goal
    facts = Facts.of(split)
    if goal == "rating" and not facts.rated:
        raise DataError(
            "there are no ratings to predict: the interactions need a column 'rating' with different values",
            hint='name one with rating=, or use goal="retrieval"',
        )
    reasons = _about(facts, goal)
    plan = _plan(split, facts, reasons)
    retrieves, rates = goal != "rating", goal != "retrieval" and facts.rated
    if not rates:
        model: ModelSpec = TwoTower(*_retrieval_towers(plan), _retrieval(plan))
    elif not retrieves:
        model = Ranker(*_rating_towers(plan), tasks=(_rating(plan, alone=True),))
    else:
        model = MultiTask(*_retrieval_towers(plan), tasks=(_retrieval(plan), _rating(plan, alone=False)))
    training = _training(facts, seed, reasons)
    return Inferred(model, training, tuple(reasons))


@dataclass(frozen=True)
class _Plan:
    """What every part of the model is made of."""

    facts: Facts
    dim: int
    event_dropout: float
    users: tuple[FeatureSpec, ...]
    items: tuple[FeatureSpec, ...]
    context: tuple[FeatureSpec, ...]
    aggregates: tuple[AggregateSpec, ...]


def _about(facts: Facts, goal: Goal) -> list[str]:
    out = [
        f"{facts.rows:,} training rows of {facts.users:,} users and {facts.items:,} items, "
        f"{facts.typical:g} of the median user"
    ]
    out.append(
        "timestamps: a row sees its user's strictly earlier events"
        if facts.timed
        else "no timestamps: a row sees all other training rows of its user (leave-one-out)"
    )
    if not facts.rated and goal == "two-stage":
        out.append("no ratings: retrieval alone")
    return out


def _plan(split: Split, facts: Facts, reasons: list[str]) -> _Plan:
    bits = log2(facts.rows) + log2(facts.items)
    dim = 8 * round(_clip(SIZES.dim_per_bit * bits, SIZES.dims) / 8)
    dropout = round(_clip((SIZES.dropout_events / facts.typical) ** 0.5, SIZES.dropouts), 2)
    reasons.append(f"vectors of {dim} numbers, for log2(rows) + log2(items) = {bits:.0f}")
    reasons.append(
        f"{dropout:.0%} of past events are left out while training: histories of {facts.typical:g}"
    )
    people, things, context = _tables(split)
    shape = Shape(dim, l2=SIZES.l2)
    each = Shape(dim, facts.rows / facts.users, SIZES.l2)
    return _Plan(
        facts,
        dim,
        dropout,
        _kept("users", choose(people, each), reasons),
        _kept("items", choose(things, shape), reasons),
        _kept("interactions", choose(context, shape), reasons),
        _aggregates(facts, things),
    )


def _tables(split: Split) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """The columns of the users, the items and the interactions of the training rows, without roles. A column
    that interactions have too is not taken from the users."""
    train = split.train
    people = split.users.join(
        train.select("user_id").unique(), on="user_id", how="semi", maintain_order="left"
    )
    things = split.items.join(
        train.select("item_id").unique(), on="item_id", how="semi", maintain_order="left"
    )
    context = train.drop([name for name in ROLES if name in train.columns])
    both = set(people.columns) & set(train.columns)
    people = people.select("user_id") if both - {"user_id"} else people
    return people.drop("user_id"), things.drop("item_id"), context


def _kept(table: str, choices: Iterable[Choice], reasons: list[str]) -> tuple[FeatureSpec, ...]:
    kept = []
    for choice in choices:
        what = "left out" if choice.feature is None else type(choice.feature).__name__
        reasons.append(f"{table}.{choice.column}: {what}; {choice.reason}")
        if choice.feature is not None:
            kept.append(choice.feature)
    return tuple(kept)


def _retrieval_towers(plan: _Plan) -> tuple[Tower, Tower]:
    facts, dim, l2 = plan.facts, plan.dim, SIZES.table_l2
    past: list[FeatureSpec] = [Bag(dim=dim, as_of=facts.as_of, event_dropout=plan.event_dropout, l2=l2)]
    if facts.timed:
        past.insert(0, History(dim=dim, length=SIZES.history, event_dropout=plan.event_dropout, l2=l2))
        past += [
            Bucket(name, num_buckets=20, dim=dim, method="quantile", l2=SIZES.l2)
            for name in ("past_count", "past_gap")
        ]
        if SIZES.cyclic:
            past += [
                Cyclic("timestamp", "day_of_week", harmonics=3),
                Cyclic("timestamp", "hour_of_day", harmonics=2),
            ]
        if SIZES.time:
            past.append(Bucket("timestamp", num_buckets=SIZES.time, dim=dim, method="quantile", l2=SIZES.l2))
    if SIZES.user_id:
        past.append(Id("user_id", dim, l2=l2, dropout=SIZES.user_dropout))
    hidden = (2 * dim,) * SIZES.hidden
    query = Tower(
        (*past, *plan.users),
        combine="sum",
        hidden=hidden,
        residual=bool(hidden),
        dropout=SIZES.tower_dropout if hidden else 0.0, out_dropout=SIZES.out_dropout,
    )
    candidate = Tower((Id("item_id", dim, l2=l2, dropout=SIZES.item_dropout), *plan.items), combine="sum")
    return query, candidate


def _retrieval(plan: _Plan) -> Retrieval:
    whole = plan.facts.items <= SIZES.full_softmax
    return Retrieval(loss="full" if whole else "in_batch", item_bias=True, seen=plan.facts.as_of)


def _rating_towers(plan: _Plan) -> tuple[Tower, Tower]:
    query, candidate = _rating_features(plan)
    return Tower(query, combine="sum"), Tower(candidate, combine="sum")


def _rating_features(plan: _Plan) -> tuple[tuple[FeatureSpec, ...], tuple[FeatureSpec, ...]]:
    facts, dim, l2 = plan.facts, plan.dim, SIZES.rating_l2
    query = (
        Id("user_id", dim, l2=l2),
        Bag(dim=dim, rated=True, as_of=facts.as_of, l2=l2),
        Bag(dim=dim, as_of=facts.as_of, l2=l2),
        *plan.users,
        *plan.context,
    )
    return query, (Id("item_id", dim, l2=l2), *plan.items)


def _rating(plan: _Plan, *, alone: bool) -> Rating:
    query, candidate = ((), ()) if alone else _rating_features(plan)
    return Rating(
        hidden=SIZES.rating_hidden,
        interaction="product",
        dim=0 if alone else plan.dim,
        activation="gelu",
        dropout=SIZES.rating_dropout,
        bias_l2=SIZES.bias_l2,
        l2=0.005,
        query=query,
        candidate=candidate,
        aggregates=plan.aggregates if SIZES.aggregates else (),
    )


def _aggregates(facts: Facts, things: pl.DataFrame) -> tuple[AggregateSpec, ...]:
    out: list[AggregateSpec] = [
        Aggregate((key,), statistic, as_of=facts.as_of)
        for key in ("user_id", "item_id")
        for statistic in ("mean", "count", "spread")
    ]
    if facts.timed:
        out += [Aggregate(("user_id",), last=last, as_of=facts.as_of) for last in (3, 10)]
        out += [
            Aggregate(("item_id",), last=20, as_of=facts.as_of),
            Context("gap", as_of=facts.as_of),
            Context("since_first", as_of=facts.as_of),
        ]
    out.append(Affinity(near="popularity", width=0.7, as_of=facts.as_of))
    for name, dtype in things.schema.items():
        if (isinstance(dtype, pl.List) and dtype.inner == pl.String) or (
            dtype == pl.String and things[name].n_unique() * 5 <= len(things)
        ):
            out.append(Affinity(tags=name, as_of=facts.as_of))
    return tuple(out)


def _training(facts: Facts, seed: int, reasons: list[str]) -> Training:
    batch = int(2 ** round(log2(_clip(facts.rows / SIZES.rows_per_batch, SIZES.batches))))
    epochs = round(_clip(SIZES.steps * batch / facts.rows, SIZES.epochs))
    patience = max(2, epochs // 3) if facts.validated else 0
    reasons.append(f"batches of {batch:,} rows, {epochs} epochs: about {SIZES.steps} steps in all")
    if patience:
        reasons.append(f"stops after {patience} epochs without a better validation figure")
    optimizer = Adam(SIZES.learning_rate, schedule="cosine", warmup=0.05, beta2=0.99)
    return Training(epochs=epochs, batch_size=batch, optimizer=optimizer, seed=seed, patience=patience)


def _clip(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])
