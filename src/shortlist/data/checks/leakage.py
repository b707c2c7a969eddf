"""Checks of columns that know too much: the label itself, or what items went through afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from shortlist.data.checks.finding import Check, Example, Hit
from shortlist.data.checks.subject import ROLES, Subject, id_texts, numbers

_BINS, _EACH, _ENOUGH, _FEW_LABELS = 50, 20, 40, 20
_SAMPLE = 200_000
_ENTITIES, _RATED = 20, 3


def label_leakage(subject: Subject) -> Iterator[Hit]:
    """Each context column alone predicts the rating: learned on one half of the rows, judged on the other."""
    rows = subject.rows.with_columns(subject.rating.alias("rating")).drop_nulls("rating")
    if rows.height > _SAMPLE:
        rows = rows.sample(_SAMPLE, seed=0)
    if rows.height < _ENOUGH or rows["rating"].n_unique() < 2:
        return
    learned = pl.Series("learned", np.random.default_rng(0).random(rows.height) < 0.5)
    for name in rows.columns:
        if name in ROLES:
            continue
        skill = explained(rows[name], rows["rating"], learned)
        if skill >= subject.limits.leakage:
            count = round(skill * subject.rows.height)
            what = (
                f"by this column alone {skill:.0%} of the rating is known, on rows that were not used to "
                "learn it: it may follow from the rating, and not be there when one is to be predicted"
            )
            examples = tuple(
                Example(f"{name}={value!r}: rating {rating:g}")
                for value, rating in rows.select(name, "rating").head(subject.limits.examples).iter_rows()
            )
            yield Hit("warning", count, subject.rows.height, subject.shown(name), what, examples)


def explained(column: pl.Series, label: pl.Series, learned: pl.Series) -> float:
    """How well values of a column predict the label on the rows that are not `learned` from, from 0 (as
    well as without) to 1: the larger of R squared of the values' means and, where labels are few, the
    share of wrong guesses that the values' most frequent labels put right. Values seen once count as one,
    so that a column of many different values explains nothing by itself."""
    frame = pl.DataFrame({"value": _coded(column), "label": label})
    train, test = frame.filter(learned), frame.filter(~learned)
    counts = train.group_by("value").agg(pl.len().alias("rows")).filter(pl.col("rows") > 1)
    known = pl.col("value").is_in(counts["value"].implode())
    rare = pl.when(known | pl.col("value").is_null()).then("value").otherwise(pl.lit(-1, pl.Int64))
    train, test = train.with_columns(rare), test.with_columns(rare)
    mode = pl.col("label").mode().min().alias("mode")
    guesses = train.group_by("value").agg(pl.col("label").mean().alias("mean"), mode)
    base = train.select(pl.col("label").mean().alias("mean"), mode).row(0)
    found = test.join(guesses, on="value", how="left", nulls_equal=True)
    if not found.height or not train.height:
        return 0.0
    found = found.with_columns(pl.col("mean").fill_null(base[0]), pl.col("mode").fill_null(base[1]))
    error = float(((found["label"] - found["mean"]) ** 2).sum())
    spread = float(((found["label"] - base[0]) ** 2).sum())
    fit = 1 - error / spread if spread > 0 else 0.0
    wrong, wrong_base = (int((found["label"] != guess).sum()) for guess in (found["mode"], base[1]))
    few = label.n_unique() <= _FEW_LABELS and wrong_base
    return max(fit, 1 - wrong / wrong_base if few else 0.0, 0.0)


def _coded(column: pl.Series) -> pl.Series:
    """Values as whole numbers from 0: numbers of many values in bins of at least 20 rows, at most 50."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
    if column.dtype.is_numeric() and column.n_unique() > _BINS:
        given = len(column) - column.null_count()
        bins = max(2, min(_BINS, given // _EACH))
        return ((column.rank("average") - 0.5) * bins / max(given, 1)).floor().cast(pl.Int64)
    codes = column.rank("dense") if column.dtype != pl.Boolean else column
    return codes.cast(pl.Int64)


def after_the_event(subject: Subject) -> Iterator[Hit]:
    """Numbers of users and items that rise and fall with what this very table counts."""
    for role, table in (("item_id", "items"), ("user_id", "users")):
        frame: pl.DataFrame | None = getattr(subject, table)
        counted = _counted(subject, role)
        if frame is not None:
            ids = id_texts(frame[role]).alias("id")
            named = {f"{table}.{name}": frame[name] for name in frame.columns[1:]}
            yield from _tracking(subject, pl.DataFrame([ids]), named, counted, table)
        yield from _tracking_context(subject, role, counted, table)


def _counted(subject: Subject, role: str) -> pl.DataFrame:
    """Rows and mean rating of each user or item."""
    counts = subject.item_counts if role == "item_id" else subject.user_counts
    if not subject.has("rating"):
        return counts
    ids = subject.pairs[role.removesuffix("_id")].alias("id")
    frame = pl.DataFrame([ids, subject.rating[subject.pairs["row"]].alias("rating")])
    mean = pl.when(pl.col("rating").count() >= _RATED).then(pl.col("rating").mean())
    means = frame.group_by("id").agg(mean.alias("mean rating")).with_columns(pl.col("id").cast(pl.String))
    return counts.join(means, on="id", how="left", maintain_order="left")


def _tracking(
    subject: Subject, ids: pl.DataFrame, columns: dict[str, pl.Series], counted: pl.DataFrame, table: str
) -> Iterator[Hit]:
    joined = ids.join(counted, on="id", how="left", maintain_order="left").with_columns(
        pl.col("rows").fill_null(0)
    )
    for where, column in columns.items():
        if not column.dtype.is_numeric():
            continue
        for measure in joined.columns[1:]:
            size, pairs = rank_correlation(numbers(column), joined[measure])
            if abs(size) < subject.limits.correlation:
                continue
            shown = pl.DataFrame(
                [joined["id"], column.alias("value"), joined[measure].alias("m")]
            ).drop_nulls()
            examples = tuple(
                Example(f"{key!r}: {value:g}, and {found:g} here")
                for key, value, found in shown.head(subject.limits.examples).iter_rows()
            )
            what = (
                f"has a rank correlation of {size:.2f} with the {measure} of {table} in this very table (of "
                f"{pairs:,} {table}): if it was counted from these rows, it knows of the rows to be predicted"
            )
            yield Hit("warning", pairs, joined.height, where, what, examples)


def _tracking_context(subject: Subject, role: str, counted: pl.DataFrame, table: str) -> Iterator[Hit]:
    """The same for columns of the interactions that say one thing of each user or item."""
    ids = (subject.item if role == "item_id" else subject.user).alias("id")
    names = [n for n in subject.rows.columns if n not in ROLES and subject.rows[n].dtype.is_numeric()]
    if not names or counted.height == subject.rows.height:
        return
    frame = subject.rows.select(names).with_columns(ids).drop_nulls("id")
    spread = frame.group_by("id", maintain_order=True).agg(
        *(pl.col(n).first().alias(n) for n in names),
        *((pl.col(n).min() == pl.col(n).max()).alias(f"one {n}") for n in names),
    )
    fixed = {subject.shown(n): spread[n] for n in names if (spread[f"one {n}"].mean() or 0) > 0.99}  # type: ignore[operator]
    yield from _tracking(subject, spread.select("id"), fixed, counted, table)


def rank_correlation(a: pl.Series, b: pl.Series) -> tuple[float, int]:
    """Spearman's, over pairs without a missing number, and how many there are; 0 where they are few or one
    side hardly varies."""
    pairs = pl.DataFrame([a.alias("a"), b.alias("b")]).drop_nulls().drop_nans()
    if pairs.height < _ENTITIES or min(pairs["a"].n_unique(), pairs["b"].n_unique()) < 5:
        return 0.0, pairs.height
    found = pairs.select(pl.corr(pl.col("a").rank(), pl.col("b").rank())).item()
    return float(found or 0.0), pairs.height


CHECKS = (
    Check("label-leakage", label_leakage, "leave the column out of the model", ("rating",)),
    Check(
        "feature-after-event",
        after_the_event,
        "count it from rows before the training period only, or leave it out: declare an Aggregate in its "
        "place, which sees strictly earlier rows",
    ),
)
