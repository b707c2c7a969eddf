"""Checks of ratings and weights."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from shortlist.data.checks.finding import Check, Hit, Severity
from shortlist.data.checks.subject import Subject

_FREQUENT, _MOST_STEPS = 0.001, 200


def unreadable_ratings(subject: Subject) -> Iterator[Hit]:
    """Ratings that are missing or no number."""
    yield from _unreadable(subject, "rating", subject.rating)


def unreadable_weights(subject: Subject) -> Iterator[Hit]:
    """Weights that are missing or no number."""
    yield from _unreadable(subject, "weight", subject.weight)


def _unreadable(subject: Subject, role: str, found: pl.Series) -> Iterator[Hit]:
    bad = found.is_null()
    if count := int(bad.sum()):
        what = f"rows have no {role}, or one that is no finite number"
        yield Hit("error", count, len(bad), subject.shown(role), what, subject.examples(bad, role))


def ratings_outside_scale(subject: Subject) -> Iterator[Hit]:
    """Ratings beyond the scale given, or far from the frequent ones."""
    ratings = subject.rating
    scale = subject.scale or _usual_scale(ratings)
    if scale is None:
        return
    low, high = scale
    bad = (ratings < low) | (ratings > high)
    if count := int(bad.sum() or 0):
        stated = subject.scale is not None
        source = "the scale given" if stated else "the scale nearly all ratings keep to"
        what = f"ratings lie outside {low:g} to {high:g}, {source}"
        examples = subject.examples(bad, "rating")
        severity: Severity = "error" if stated else "warning"
        yield Hit(severity, count, len(bad), subject.shown("rating"), what, examples)


def _usual_scale(ratings: pl.Series) -> tuple[float, float] | None:
    """The span of the frequent ratings, widened by their largest step; None where there are hardly any."""
    counts = ratings.drop_nulls().value_counts(name="rows")
    if not counts.height or counts.height > _MOST_STEPS:
        return None
    frequent = counts.filter(pl.col("rows") >= max(2.0, _FREQUENT * len(ratings)))["rating"].sort()
    if len(frequent) < 3:
        return None
    step = float(frequent.diff().max())  # type: ignore[arg-type]
    return float(frequent[0]) - step, float(frequent[-1]) + step


def constant_ratings(subject: Subject) -> Iterator[Hit]:
    """Ratings that never differ."""
    given = subject.rating.drop_nulls()
    if len(given) > 1 and given.n_unique() == 1:
        what = f"every rating is {given[0]:g}: there is nothing to predict"
        every = subject.rating.is_not_null()
        examples = subject.examples(every, "rating")[:1]
        yield Hit("warning", len(given), len(every), subject.shown("rating"), what, examples)


def negative_weights(subject: Subject) -> Iterator[Hit]:
    """Weights below zero."""
    bad = subject.weight < 0
    if count := int(bad.sum() or 0):
        what = "weights are negative: such a row would be pushed away from what it says"
        examples = subject.examples(bad, "weight")
        yield Hit("error", count, len(bad), subject.shown("weight"), what, examples)


CHECKS = (
    Check("unreadable-ratings", unreadable_ratings, "drop or repair these rows", ("rating",)),
    Check(
        "ratings-outside-scale",
        ratings_outside_scale,
        "-1, 0 or 99 often stands for no rating: drop those rows; state the scale to be sure",
        ("rating",),
    ),
    Check("constant-ratings", constant_ratings, "retrieve only, or bring the ratings that vary", ("rating",)),
    Check("unreadable-weights", unreadable_weights, "drop or repair these rows", ("weight",)),
    Check(
        "negative-weights",
        negative_weights,
        "use weights of at least 0; say dislike by a rating",
        ("weight",),
    ),
)
