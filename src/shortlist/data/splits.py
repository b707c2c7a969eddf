"""Rows divided once, forever, into train, validation and test; every rule says what it lets leak."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from shortlist._typing import Bools, Longs
from shortlist.data.dataset import Dataset
from shortlist.data.display import split_view
from shortlist.errors import DataError

LEAKS_RANDOM = (
    "a random split lets the model see the future: training rows lie before and after every test row, and a "
    "timestamp nearly identifies the session a test row came from"
)
LEAKS_UNTIMED = "without times nobody can tell, but training rows may well be later than test rows"
LEAKS_TEMPORAL = (
    "nothing: every test row is later than every training row; users and items first seen in the test "
    "period are cold"
)
LEAKS_LEAVE_LAST = (
    "each user's test rows are that user's last, but other users' training rows may be later than them, so "
    "popularity and trends of the test time are partly known"
)


@dataclass(frozen=True)
class Split:
    """One division of a data set. `train` never holds a row of `validation` or `test`.

    users, items: the data set's tables, whole. rule: how it was made, in the syntax of `parse_rule`.
    seed: of the random rule, else None. leaks: one sentence on what training may know of the test.
    """

    train: pl.DataFrame = field(repr=False)
    validation: pl.DataFrame = field(repr=False)
    test: pl.DataFrame = field(repr=False)
    users: pl.DataFrame = field(repr=False)
    items: pl.DataFrame = field(repr=False)
    rule: str
    seed: int | None = None
    leaks: str = ""
    _rows: Longs | None = field(default=None, repr=False, compare=False)

    def _repr_html_(self) -> str:
        return split_view(self)

    def refit(self) -> Split:
        """The same split with the validation rows back in train, in the order train would have had
        without validation: for the last fit, once everything is chosen."""
        train = pl.concat([self.train, self.validation])
        if self._rows is not None:
            train = train[np.argsort(self._rows, kind="stable")]
        return replace(self, train=train, validation=self.validation.clear(), _rows=None)

    def whole(self) -> Split:
        """All rows as train, nothing to judge by: for a model that is to serve."""
        known = self.refit()
        train = pl.concat([known.train, self.test])
        return replace(known, train=train, test=self.test.clear(), leaks="every row is a training row")

    def describe(self) -> dict[str, Any]:
        """Rows of each part, users and items of test that train never shows, rule, seed and leaks."""
        return {
            "rule": self.rule,
            "seed": self.seed,
            "leaks": self.leaks,
            "rows": {
                "train": self.train.height,
                "validation": self.validation.height,
                "test": self.test.height,
            },
            "test_users": self.test["user_id"].n_unique(),
            "test_users_unseen_in_train": _unseen(self.test, self.train, "user_id"),
            "test_items": self.test["item_id"].n_unique(),
            "test_items_unseen_in_train": _unseen(self.test, self.train, "item_id"),
            "test_rows_of_unseen_users": _rows_unseen(self.test, self.train),
        }


def random(data: Dataset, *, test: float = 0.2, validation: float = 0.0, seed: int = 42) -> Split:
    """A random division of the rows.

    With p = numpy.random.default_rng(seed).permutation(n): the first round(n * (1 - test)) rows of p
    are train and validation, the rest test; validation is the last `validation` share of that first
    part. All parts are in the order of p. Raises DataError when a part would be empty.
    """
    _check_shares(test, validation)
    n = data.interactions.height
    order = np.random.default_rng(seed).permutation(n)
    first = round(n * (1 - test))
    kept = first - round(first * validation)
    rule = f"random={_percent(1 - test)}" + _validation_text(validation)
    parts = order[:kept], order[kept:first], order[first:]
    leaks = LEAKS_RANDOM if "timestamp" in data.interactions.columns else LEAKS_UNTIMED
    return _build(data, parts, rule, seed, leaks, validation > 0)


def temporal(data: Dataset, *, test: float = 0.2, validation: float = 0.0) -> Split:
    """A division at one moment for everybody: the last `test` share of the rows by time is the test,
    the last `validation` share of what comes before is the validation.

    Rows of one second are never divided (the later part takes them all), so shares are met up to
    that. Rows keep the data's order. Raises DataError without timestamps or when a part is empty.
    """
    _check_shares(test, validation)
    time = _times(data, "a temporal split")
    in_test = time >= _boundary(time, test)
    in_validation = np.zeros_like(in_test)
    if validation > 0 and not in_test.all():
        in_validation = ~in_test & (time >= _boundary(time[~in_test], validation))
    rule = f"time={_percent(1 - test)}" + _validation_text(validation)
    return _build(data, _parts(in_validation, in_test), rule, None, LEAKS_TEMPORAL, validation > 0)


def leave_last(data: Dataset, n: int = 1, *, validation: bool = True) -> Split:
    """The last `n` rows of each user are the test; the `n` before them the validation, if asked for.

    Of rows within one second the one further down the table is the later. A user with too few rows to
    leave one for training keeps them all in train. Rows keep the data's order. Raises DataError for
    n < 1, without timestamps, or when no user has rows enough.
    """
    if n < 1:
        raise DataError(f"leave_last holds out n >= 1 rows a user, got {n}")
    time = _times(data, "a leave-last split")
    users = data.interactions["user_id"].rank("dense").to_numpy().astype(np.int64) - 1
    size = np.bincount(users) if users.size else np.zeros(0, dtype=np.int64)
    order = np.lexsort((np.arange(users.size), time, users))
    starts = np.cumsum(size) - size
    from_end = np.empty(users.size, dtype=np.int64)
    from_end[order] = (starts + size)[users[order]] - 1 - np.arange(users.size)
    enough = size[users] > n * (2 if validation else 1)
    in_test = enough & (from_end < n)
    in_validation = enough & (from_end >= n) & (from_end < 2 * n) & validation
    rule = f"hold_last={n}" + ("" if validation else ",validation=no")
    return _build(data, _parts(in_validation, in_test), rule, None, LEAKS_LEAVE_LAST, validation)


@dataclass(frozen=True)
class Rule:
    """A split in words: kind, the share of train (or rows held out a user), and the validation share
    (for hold_last: 1 holds out as many again, 0 none)."""

    kind: Literal["random", "time", "hold_last"]
    amount: float
    validation: float = 0.0

    def apply(self, data: Dataset, *, seed: int = 42) -> Split:
        """The split itself; `seed` matters to the random rule only."""
        if self.kind == "random":
            return random(data, test=1 - self.amount, validation=self.validation, seed=seed)
        if self.kind == "time":
            return temporal(data, test=1 - self.amount, validation=self.validation)
        return leave_last(data, int(self.amount), validation=self.validation > 0)


_RULE = re.compile(
    r"(?P<kind>random|time|hold_last)=(?P<amount>[\d.]+%?)(,validation=(?P<validation>[\w.]+%?))?"
)


def parse_rule(text: str) -> Rule:
    """`random=80%`, `time=80%` (share of train) or `hold_last=1`, each with an optional
    `,validation=10%` (share of what is not test; `,validation=no` for hold_last, whose default is
    yes). Raises DataError showing the text and the forms allowed."""
    found = _RULE.fullmatch(text.replace(" ", ""))
    problem = DataError(
        f"cannot read the split rule {text!r}",
        hint="forms: random=80%, time=80%, hold_last=1, random=80%,validation=10%, hold_last=1,validation=no",
    )
    if not found:
        raise problem
    try:
        return _rule_of(found["kind"], found["amount"], found["validation"])
    except ValueError:
        raise problem from None


def _rule_of(kind: Any, amount: str, validation: str | None) -> Rule:
    if kind == "hold_last":
        if not amount.isdigit() or int(amount) < 1 or validation not in (None, "yes", "no"):
            raise ValueError
        return Rule(kind, int(amount), 0.0 if validation == "no" else 1.0)
    share, held = _share(amount), _share("0" if validation in (None, "no") else str(validation))
    if not (0 < share < 1 and 0 <= held < 1):
        raise ValueError
    return Rule(kind, share, held)


def _share(text: str) -> float:
    # Rounded so that 1 - share gives back what was written: 1 - 0.8 is 0.19999999999999996.
    return round(float(text.removesuffix("%")) / (100 if text.endswith("%") else 1), 12)


def _percent(share: float) -> str:
    return f"{round(share * 100, 6):g}%"


def _validation_text(validation: float) -> str:
    return f",validation={_percent(validation)}" if validation else ""


def _check_shares(test: float, validation: float) -> None:
    if not 0 < test < 1:
        raise DataError(
            f"test is a share of the rows between 0 and 1, got {test}", hint="for instance test=0.2"
        )
    if not 0 <= validation < 1:
        raise DataError(f"validation is a share of the rows from 0 to below 1, got {validation}")


def _times(data: Dataset, what: str) -> Longs:
    if "timestamp" not in data.interactions.columns:
        raise DataError(
            f"{what} needs a column 'timestamp'; the interactions have {data.interactions.columns}",
            hint="give timestamps, or split at random",
        )
    return data.interactions["timestamp"].to_numpy().astype(np.int64)


def _boundary(time: Longs, share: float) -> int:
    """The second from which the last `share` of the rows (at least one) lies."""
    if not time.size:
        return 0
    first = min(round(time.size * (1 - share)), time.size - 1)
    return int(np.partition(time, first)[first])


def _parts(in_validation: Bools, in_test: Bools) -> tuple[Longs, Longs, Longs]:
    in_train = ~in_validation & ~in_test
    train, validation, test = (np.flatnonzero(m) for m in (in_train, in_validation, in_test))
    return train, validation, test


def _build(
    data: Dataset,
    parts: tuple[Longs, Longs, Longs],
    rule: str,
    seed: int | None,
    leaks: str,
    wants_validation: bool,
) -> Split:
    rows = data.interactions
    names = ("train", "validation", "test")
    for name, part in zip(names, parts, strict=True):
        if not part.size and (name != "validation" or wants_validation):
            raise DataError(
                f"the split {rule} of {rows.height} rows leaves no row for {name}",
                hint="give more rows, other shares, or another rule",
            )
    train, validation, test = (rows[part] for part in parts)
    # A random split is already in order when train and validation are put together again.
    order = None if seed is not None else np.concatenate(parts[:2])
    return Split(train, validation, test, data.users, data.items, rule, seed, leaks, order)


def _unseen(test: pl.DataFrame, train: pl.DataFrame, column: str) -> int:
    return test.select(column).unique().join(train.select(column).unique(), on=column, how="anti").height


def _rows_unseen(test: pl.DataFrame, train: pl.DataFrame) -> int:
    return test.join(train.select("user_id").unique(), on="user_id", how="anti").height
