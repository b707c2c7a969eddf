"""Sizes and regularisation as functions of what the training rows say."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

import polars as pl

from shortlist.data.splits import Split
from shortlist.errors import DataError
from shortlist.specs.features import AsOf
from shortlist.specs.recipe import Goal

Bounds = tuple[float, float]

# Found on validation rows of seven tables of ratings, purchases and links; see docs/log.md.
BATCH_SHARE, BATCHES = 0.01, (64, 1000)
"""A batch's share of the rows, within bounds: more rows a step train faster, and learn less an epoch."""
EPOCHS = (6, 30)
"""Small tables are passed over more often, so that runs have about as many steps."""
FULL_SOFTMAX = 20_000
"""Items up to which all are negatives; beyond that, the items of the batch with logQ."""
MEMBER_ROWS, MEMBERS = 1_000_000, (1, 3)
"""Rows that all members of an ensemble may pass over in an epoch, together; how many members."""
PAST = 50
"""Last events read in order of time."""


@dataclass(frozen=True)
class Course:
    """How long and how boldly is learned. steps: of a run, if bounds on epochs allow."""

    steps: int
    learning_rate: float


TIMED_COURSE = Course(700, 0.01)
TIMELESS_COURSE = Course(1000, 0.01)
RATING_COURSE = Course(1300, 0.004)  # with few numbers to learn, slower is better by 0.01 RMSE


@dataclass(frozen=True)
class Width:
    """Numbers of a vector: per_bit * (log2(rows) + log2(items)), in eighths, within bounds."""

    per_bit: float
    bounds: Bounds

    def of(self, bits: float) -> int:
        return 8 * round(clip(self.per_bit * bits, self.bounds) / 8)


TIMED_WIDTH = Width(1.75, (16, 64))  # 48 for 100,000 rows of 1,682 items; ids, order and time share the work
TIMELESS_WIDTH = Width(3.5, (24, 96))  # one bag must say it all
RATING_WIDTH = Width(0.6, (8, 16))  # 48 numbers overfit: 0.013 RMSE worse on 80,000 rows


@dataclass(frozen=True)
class Dropout:
    """Shares left out of a retrieval query while training. events: sqrt(this / the median user's events),
    within bounds; out: of the query's vector."""

    events: float
    bounds: Bounds
    out: float

    def of(self, typical: float) -> float:
        return round(clip((self.events / max(typical, 1.0)) ** 0.5, self.bounds), 2)


TIMED_DROPOUT = Dropout(2.0, (0.1, 0.5), 0.2)  # 0.01 NDCG on 100,000 rows, against nothing left out
TIMELESS_DROPOUT = Dropout(3.0, (0.3, 0.5), 0.3)  # 0.005; more costs where tastes are clear-cut
SIDE_L2, USER_DROPOUT = 0.02, 0.5
"""Of side features' rows (not of a rating's: see there); of the user's own vector."""
RATING_L2, BIAS_L2, HEAD_L2, HEAD_DROPOUT, HEAD_HIDDEN = 0.05, 0.02, 0.005, 0.4, (64, 32)
"""Of the vectors, the biases and the network that predict a rating."""


@dataclass(frozen=True)
class Facts:
    """What the training rows say. items: those in them; catalogue: all there are, where these are more.
    typical: the median user's rows; timed, rated: times and ratings that
    differ; validated: whether there are validation rows; followed: whether any row has an earlier one of its
    user."""

    rows: int
    users: int
    items: int
    typical: float
    timed: bool
    rated: bool
    validated: bool
    followed: bool = True
    catalogue: int = 0

    @classmethod
    def of(cls, split: Split) -> Facts:
        """Raises DataError without training rows."""
        train = split.train
        if not train.height:
            raise DataError("the split has no training rows")
        each = train["user_id"].value_counts()["count"]
        return cls(
            rows=train.height,
            users=len(each),
            items=train["item_id"].n_unique(),
            typical=float(each.quantile(0.5, "lower") or 1.0),
            timed="timestamp" in train.columns and train["timestamp"].n_unique() > 1,
            rated="rating" in train.columns and train["rating"].n_unique() > 1,
            validated=split.validation.height > 0,
            catalogue=split.items.height,
            followed="timestamp" in train.columns
            and bool((train.group_by("user_id").agg(pl.col("timestamp").n_unique())["timestamp"] > 1).any()),
        )

    @property
    def counted(self) -> tuple[str, ...]:
        """The numbers of a past that some row has."""
        return ("past_count", "past_gap") if self.followed else ("past_count",)

    @property
    def as_of(self) -> AsOf:
        return "row" if self.timed else "leave-one-out"

    @property
    def offered(self) -> int:
        """Items a softmax over all of them is over."""
        return max(self.items, self.catalogue)

    @property
    def bits(self) -> float:
        return log2(self.rows) + log2(self.items)


@dataclass(frozen=True)
class Sizes:
    """What follows for a model and its training."""

    dim: int
    rating_dim: int
    event_dropout: float
    out_dropout: float
    whole: bool
    batch_size: int
    epochs: int
    patience: int
    learning_rate: float
    members: int

    @classmethod
    def of(cls, facts: Facts, goal: Goal) -> Sizes:
        dropout = TIMED_DROPOUT if facts.timed else TIMELESS_DROPOUT
        width = TIMED_WIDTH if facts.timed else TIMELESS_WIDTH
        course = TIMED_COURSE if facts.timed else TIMELESS_COURSE
        course = RATING_COURSE if goal == "rating" else course
        batch_size = int(2 ** round(log2(clip(BATCH_SHARE * facts.rows, BATCHES))))
        epochs = round(clip(course.steps * batch_size / facts.rows, EPOCHS))
        return cls(
            dim=width.of(facts.bits),
            rating_dim=RATING_WIDTH.of(facts.bits),
            event_dropout=dropout.of(facts.typical),
            out_dropout=dropout.out,
            whole=facts.offered <= FULL_SOFTMAX,
            batch_size=batch_size,
            epochs=epochs,
            patience=max(3, epochs // 2) if facts.validated else 0,  # a falling rate is best late
            learning_rate=course.learning_rate,
            members=int(clip(MEMBER_ROWS // facts.rows, MEMBERS)),
        )

    def reasons(self, facts: Facts, goal: Goal) -> list[str]:
        """A sentence for each."""
        out = []
        if goal != "rating":
            out.append(f"retrieval: vectors of {self.dim} numbers, for log2(rows x items) = {facts.bits:.0f}")
            out.append(
                f"{self.event_dropout:.0%} of past events and {self.out_dropout:.0%} of the query's numbers"
                f" are left out while training, for histories of {facts.typical:g} events"
                f" {'in order of time' if facts.timed else 'without order'}"
            )
            negatives = "all items" if self.whole else "the batch's items, corrected by logQ,"
            items = facts.items if self.whole else facts.offered
            out.append(f"softmax: {negatives} are the negatives, of {items:,} items")
        if goal != "retrieval" and facts.rated:
            out.append(f"rating: vectors of {self.rating_dim} numbers, more would overfit")
        out.append(f"{self.epochs} epochs of batches of {self.batch_size:,}, for {facts.rows:,} rows")
        if self.members > 1:
            out.append(f"{self.members} models, alike but for their seeds, answer with their mean")
        if self.patience:
            out.append(f"stops after {self.patience} epochs without a better validation figure")
        return out


def clip(value: float, bounds: Bounds) -> float:
    """The value, or the bound it lies beyond."""
    return min(max(value, bounds[0]), bounds[1])
