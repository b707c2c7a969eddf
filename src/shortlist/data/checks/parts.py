"""Checks of a split: rows and pairs on both sides, test rows that training lies after, cold parts."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from shortlist.data.checks.finding import Check, Example, Hit, Severity
from shortlist.data.checks.subject import Subject, quoted

_HELD = ("validation", "test")
_LEARNED = {"validation": ("train",), "test": ("train", "validation")}
"""What a model has learned from when it is judged on a part: the last fit takes the validation rows too."""


def rows_in_both(subject: Subject) -> Iterator[Hit]:
    """Identical rows of which one is trained on."""
    names = subject.rows.columns
    rows = subject.rows.with_columns(subject.rows.hash_rows().alias("_hash"), _part(subject))
    rows = rows.with_row_index("_at")
    for part in _HELD:
        train = rows.filter(pl.col("_part").is_in(_LEARNED[part]))
        held = rows.filter(pl.col("_part") == part)
        both = held.join(train.select("_hash"), on="_hash", how="semi", maintain_order="left")
        known = train.join(both.select("_hash"), on="_hash", how="semi")  # few; then compared value by value
        both = both.join(known, on=names, how="semi", nulls_equal=True, maintain_order="left")
        if both.height:
            what = f"rows of {part} are in {_learned(part)} too, equal in every column: their answer is known"
            yield Hit("error", both.height, held.height, part, what, _examples(subject, both["_at"]))


def pairs_in_both(subject: Subject) -> Iterator[Hit]:
    """Pairs of which one row is trained on."""
    pairs = subject.pairs
    for part in _HELD:
        known = pairs.filter(pl.col("part").is_in(_LEARNED[part])).select("user", "item").unique()
        held = pairs.filter(pl.col("part") == part)
        both = held.join(known, on=["user", "item"], how="semi", maintain_order="left")
        if both.height:
            what = (
                f"rows of {part} have a (user, item) pair that {_learned(part)} has: filtered figures cannot "
                "find them, since seen items are left out"
            )
            yield Hit("warning", both.height, held.height, part, what, _examples(subject, both["row"]))


def earlier_than_train(subject: Subject) -> Iterator[Hit]:
    """Test rows before a training row of the same user."""
    pairs = subject.pairs.drop_nulls("time")
    last = pairs.filter(pl.col("part") == "train").group_by("user").agg(pl.col("time").max().alias("last"))
    for part in _HELD:
        held = pairs.filter(pl.col("part") == part).join(last, on="user", how="left", maintain_order="left")
        early = held.filter(pl.col("time") < pl.col("last"))
        if early.height:
            what = f"rows of {part} lie before a row of train of the same user: the model saw what came next"
            examples = _examples(subject, early["row"], "timestamp")
            yield Hit("warning", early.height, held.height, part, what, examples)


def train_after_test(subject: Subject) -> Iterator[Hit]:
    """Training rows of anybody that are later than the first row of the test."""
    pairs = subject.pairs.drop_nulls("time")
    train, test = (pairs.filter(pl.col("part") == part) for part in ("train", "test"))
    if not test.height:
        return
    late = train.filter(pl.col("time") > test["time"].min())
    if late.height:
        what = (
            "rows of train are later than the first row of test: trends of the test period are partly known"
        )
        yield Hit(
            "note", late.height, train.height, "train", what, _examples(subject, late["row"], "timestamp")
        )


def cold_users(subject: Subject) -> Iterator[Hit]:
    """Users of a held-out part that training never shows."""
    yield from _cold(subject, "user")


def cold_items(subject: Subject) -> Iterator[Hit]:
    """Items of a held-out part that training never shows."""
    yield from _cold(subject, "item")


def _cold(subject: Subject, side: str) -> Iterator[Hit]:
    pairs = subject.pairs
    known = pairs.filter(pl.col("part") == "train").select(side).unique()
    for part in _HELD:
        held = pairs.filter(pl.col("part") == part)
        cold = held.join(known, on=side, how="anti", maintain_order="left")
        distinct, every = cold[side].n_unique(), held[side].n_unique()
        if cold.height:
            severity: Severity = "warning" if distinct >= subject.limits.cold_share * every else "note"
            what = f"{side}s of {part} are not in train ({cold.height / held.height:.1%} of its rows)"
            names = cold[side].unique(maintain_order=True).head(subject.limits.examples)
            yield Hit(severity, distinct, every, part, what, tuple(Example(quoted(name)) for name in names))


def rule_problem(subject: Subject) -> Iterator[Hit]:
    """A rule that cannot divide these rows."""
    if subject.rule_problem:
        yield Hit("error", subject.rows.height, subject.rows.height, "split", subject.rule_problem)


def _learned(part: str) -> str:
    return " or ".join(_LEARNED[part])


def _part(subject: Subject) -> pl.Series:
    if subject.part is None:
        raise ValueError("these checks need a split")
    return subject.part.alias("_part")


def _examples(subject: Subject, at: pl.Series, *columns: str) -> tuple[Example, ...]:
    return tuple(
        subject.example(row, "user_id", "item_id", *columns) for row in at.head(subject.limits.examples)
    )


_SPLIT, _TIMED = ("split",), ("split", "timestamp")
CHECKS = (
    Check(
        "split-rule", rule_problem, "choose another rule, or repair what the other findings name", ("rule",)
    ),
    Check("split-rows-in-both", rows_in_both, "drop duplicate rows before splitting", _SPLIT),
    Check(
        "split-pairs-in-both",
        pairs_in_both,
        "keep one row a pair before splitting, or judge by raw figures",
        _SPLIT,
    ),
    Check(
        "split-test-before-train",
        earlier_than_train,
        "split by time (time=80%) or hold_last=1 to be as strict as life",
        _TIMED,
    ),
    Check("split-train-after-test", train_after_test, "split by time (time=80%) if trends matter", _TIMED),
    Check(
        "split-cold-users",
        cold_users,
        "popular items, features of users, or a history in the request serve them; see the cold slices",
        _SPLIT,
    ),
    Check(
        "split-cold-items", cold_items, "only features of items can find them; see the cold slices", _SPLIT
    ),
)
