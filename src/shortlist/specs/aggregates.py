"""Aggregates: numbers of a (user, item, time) row that come from other events of the log.

Each declares which other events it may see (`as_of`): those of an earlier second only ("row"), or all of the
log but the row's own ("leave-one-out").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from shortlist.errors import SpecError, did_you_mean
from shortlist.specs.features import AsOf
from shortlist.specs.spec import Spec, not_negative, positive

LEAST_NOISE = 0.01
"""Of a process: below it, single precision could not tell its events apart."""

USER, ITEM, POPULARITY, ACTIVITY = "user_id", "item_id", "popularity", "activity"

Statistic = Literal["mean", "count", "spread"]
Of = Literal["residual", "rating"]
What = Literal["since_first", "gap", "position", "hour_sine", "hour_cosine", "time", "column"]


class Figure(Spec, frozen=True, tag_field="kind"):
    """One number of a row."""

    @property
    def of_user(self) -> bool:
        """Whether it says what the row's user did."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """A readable name: equal for equal specs only."""
        defaults = type(self)()
        parts = [str(self.__struct_config__.tag)]
        for field in self.__struct_fields__:
            value = getattr(self, field)
            if value != getattr(defaults, field):
                shown = "+".join(map(str, value)) or "all" if isinstance(value, tuple) else value
                parts.append(f"{field}={shown:g}" if isinstance(value, float) else f"{field}={shown}")
        return " ".join(parts)


class Aggregate(Figure, frozen=True, tag="aggregate"):
    """A statistic of the events that share the row's key.

    by: the columns of the key: "user_id", "item_id", columns of the users' and of the items' table,
    "popularity" and "activity" (how many events the item and the user have, in half steps of log2). An event
    counts once for each value of a multi-valued column that it shares with the row; a missing value is shared
    with nothing. () is all events.
    statistic: "mean" sum / (count + shrink); "count" log1p(count) / 3; "spread" sqrt((sum of squares +
    shrink) / (count + shrink)).
    window: seconds. Only events of [t - window, t) count, with "leave-one-out" of [t - window, t + window];
    below one it is the row's own second. 0: all.
    last: only the key's `last` most recent events, with "leave-one-out" the nearest in time. 0: all.
    bins: numeric columns are cut at their table's quantiles into as many groups; 0: equal values only.
    of: "rating" (less the global mean) or "residual". Of a key with user_id: less the item's mean over other
    users; with item_id: less the user's mean residual over other items; with neither: less both, and with
    "leave-one-out" events of the row's user and item do not count, for their residuals know its rating. Means
    are shrunk by 5 and see, with "row", only events earlier than the event itself.
    """

    by: tuple[str, ...] = (USER,)
    statistic: Statistic = "mean"
    window: float = 0.0
    last: int = 0
    shrink: float = 3.0
    bins: int = 0
    of: Of = "residual"
    as_of: AsOf = "row"

    @property
    def rated(self) -> bool:
        """Whether it reads ratings."""
        return self.statistic != "count"

    @property
    def of_user(self) -> bool:
        return USER in self.by or ACTIVITY in self.by

    @property
    def apart(self) -> bool:
        """Whether events of the row's user and item must not count."""
        neither = USER not in self.by and ITEM not in self.by
        return neither and self.rated and self.of == "residual" and self.as_of == "leave-one-out"

    def check(self) -> None:
        not_negative(self, "window", "last", "shrink", "bins")
        if "" in self.by or len(set(self.by)) != len(self.by):
            raise SpecError(f"Aggregate.by needs distinct names of columns, got {list(self.by)!r}")
        if self.as_of == "row" and 0 < self.window < 1:
            raise SpecError(
                f"Aggregate.window is {self.window}: no second is earlier than the row's and within it",
                hint='a window below one second needs as_of="leave-one-out"',
            )
        if self.bins and not set(self.by) - {USER, ITEM, POPULARITY, ACTIVITY}:
            raise SpecError(f"Aggregate.bins is {self.bins}, but no column of {list(self.by)!r} can be cut")
        if self.bins == 1:
            raise SpecError("Aggregate.bins must be 0 or at least 2, got 1", hint="0 tells all values apart")
        if self.apart and self.last:
            raise SpecError(
                f"Aggregate.last is {self.last}: the nearest residuals of a key without user_id and item_id "
                "cannot be had leave-one-out",
                hint='use window, of="rating" or as_of="row"',
            )


class Context(Figure, frozen=True, tag="context"):
    """Where the row stands.

    what: "since_first" log1p(seconds since the user's first event) / 10; "gap" log1p(seconds to the `last`-th
    most recent event, with "leave-one-out" nearest) / 5; "position" log1p(the user's events of an earlier
    second) / 5; "hour_sine" and "hour_cosine" of the time of day; "time" in seconds; "column" a number of the
    users' or the items' table, or with `equals` whether a text column is or holds that value. 0 where there
    is no such event; a missing number becomes the mean.
    """

    what: What = "time"
    last: int = 1
    column: str = ""
    equals: str = ""
    as_of: AsOf = "row"

    @property
    def of_user(self) -> bool:
        return self.what in ("since_first", "gap", "position")

    def check(self) -> None:
        positive(self, "last")
        if (self.what == "column") != bool(self.column):
            raise SpecError(
                f"Context.column is {self.column!r} and Context.what {self.what!r}",
                hint='what="column" goes with the name of a column, nothing else does',
            )
        if self.equals and not self.column:
            raise SpecError(f"Context.equals is {self.equals!r} without a column")
        if self.last != 1 and self.what != "gap":
            raise SpecError(f"Context.last is {self.last}, but only a gap has it, not {self.what!r}")


class Affinity(Figure, frozen=True, tag="affinity"):
    """A weighted mean of the user's residuals, sum(w e) / (sum(w) + shrink), by likeness to the row's item.

    by: "user_id", or "item_id" for its mirror image: the item's residuals, by likeness of their users.
    w = cosine(values of `tags`) ** power * exp(-(difference of `near` / width)^2 / 2): `tags` is a text
    column (equal or not) or a multi-valued one, `near` a numeric one, or "popularity" or "activity" as log1p;
    of the items' table, in the mirror image of the users'. A missing value weighs 0. Residuals are those of
    `Aggregate`.
    """

    by: Literal["user_id", "item_id"] = "user_id"
    tags: str = ""
    power: float = 1.0
    near: str = ""
    width: float = 0.0
    shrink: float = 3.0
    as_of: AsOf = "row"

    @property
    def of_user(self) -> bool:
        return self.by == USER

    def check(self) -> None:
        not_negative(self, "shrink", "width")
        positive(self, "power")
        if bool(self.near) != (self.width > 0):
            raise SpecError(
                f"Affinity.near is {self.near!r} and Affinity.width {self.width}",
                hint="a numeric column goes with a width above 0, in its units",
            )
        derived = POPULARITY if self.by == USER else ACTIVITY
        if self.near in (POPULARITY, ACTIVITY) and self.near != derived:
            raise SpecError(
                f"Affinity.near is {self.near!r} by {self.by!r}", hint=did_you_mean(self.near, [derived])
            )


class Process(Figure, frozen=True, tag="process"):
    """What a Gaussian process expects of the row: the posterior mean of the user's residual at the row's item
    and time, given those of the user's events that it may see (Rasmussen & Williams 2006, equations 2.25 and
    5.12).

    The covariance of two events is a sum of likenesses by weight, in units in which `noise` is what a rating
    varies by itself: 1 (`constant`); the cosine of the values of `tags`, a text or a multi-valued column of
    the items; exp(-(difference / width)^2 / 2) of `near`, a numeric one; their `product`; the same of log1p
    of the items' popularity, with a width of 0.7; the inner product of the items' factors; with `time`, for
    each of `spans` seconds exp(-gap / span), a span of 0 being one and the same second; and with `time`
    exp(-gap / 600) times that cosine and that inner product (`session`). A missing value is like nothing.

    factors: how many numbers an item has of what other users rated: fitted by alternating least squares to
    the training log's residuals, for each of eight groups of users from the ratings of the other seven, and
    frozen like any table of parameters. 0: none. most: a row sees no more of a user's events, and at least
    half as many of the nearest before it ("leave-one-out": around it). Residuals are those of `Aggregate`.
    """

    tags: str = ""
    near: str = ""
    width: float = 0.0
    factors: int = 16
    time: bool = True
    constant: float = 0.1
    tags_weight: float = 0.02
    near_weight: float = 0.04
    product_weight: float = 0.03
    popularity_weight: float = 0.015
    factors_weight: float = 0.8
    spans: tuple[float, ...] = (0.0, 60.0, 600.0, 86400.0)
    span_weights: tuple[float, ...] = (0.03, 0.04, 0.05, 0.015)
    session_weights: tuple[float, float] = (0.02, 0.12)
    noise: float = 0.9
    most: int = 800
    as_of: AsOf = "row"

    @property
    def of_user(self) -> bool:
        return True

    def check(self) -> None:
        weights = [name for name in self.__struct_fields__ if name.endswith("_weight")]
        not_negative(self, "width", "factors", "constant", *weights)
        if bool(self.near) != (self.width > 0):
            raise SpecError(
                f"Process.near is {self.near!r} and Process.width {self.width}",
                hint="a numeric column goes with a width above 0, in its units",
            )
        if len(self.spans) != len(self.span_weights):
            raise SpecError(f"Process has {len(self.spans)} spans and {len(self.span_weights)} span_weights")
        if min(*self.spans, *self.span_weights, *self.session_weights) < 0:
            raise SpecError("Process.spans, span_weights and session_weights must not be negative")
        if not self.noise >= LEAST_NOISE:
            raise SpecError(f"Process.noise must be at least {LEAST_NOISE}, got {self.noise}")
        if self.most < 2:
            raise SpecError(f"Process.most must be at least 2, got {self.most}")


AggregateSpec = Aggregate | Context | Affinity | Process


def columns_read(specs: Iterable[AggregateSpec]) -> set[str]:
    """The columns of the users' and the items' table that aggregates read."""
    named: set[str] = set()
    for spec in specs:
        if isinstance(spec, Aggregate):
            named |= set(spec.by)
        elif isinstance(spec, Affinity | Process):
            named |= {spec.tags, spec.near}
        else:
            named.add(spec.column)
    return named - {"", USER, ITEM, POPULARITY, ACTIVITY}
