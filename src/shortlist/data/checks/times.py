"""Checks of times: unreadable ones, units that are not seconds, the far past, the future."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import polars as pl

from shortlist.data.checks.finding import Check, Example, Hit
from shortlist.data.checks.subject import Subject, first
from shortlist.data.times import DAY, units_of

_WEEKS = 61 * 86_400
_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds", DAY: "days"}


def unreadable_times(subject: Subject) -> Iterator[Hit]:
    """Times that are missing or cannot be read."""
    bad = subject.raw_time.is_null()
    if count := int(bad.sum()):
        what = "rows have no time, or one that is neither seconds since 1970 nor a date in a form known here"
        forms = units_of(subject.rows["timestamp"]) if subject.rows["timestamp"].dtype == pl.String else []
        hint = f"state the form: time_unit is one of {forms[:4]}" if len(forms) > 1 else ""
        examples = subject.examples(bad, "timestamp")
        yield Hit("error", count, len(bad), subject.shown("timestamp"), what, examples, hint)


def fractional_times(subject: Subject) -> Iterator[Hit]:
    """Times between two seconds."""
    column = subject.rows["timestamp"]
    if not column.dtype.is_float():
        return
    bad = column.is_finite() & (column != column.floor())
    if count := int(bad.sum() or 0):
        what = "times have a fraction of a second, which is cut off: order within a second is lost"
        examples = subject.examples(bad, "timestamp")
        yield Hit("note", count, len(bad), subject.shown("timestamp"), what, examples)


def time_unit(subject: Subject) -> Iterator[Hit]:
    """Times in milliseconds and finer, and seconds that were read as such."""
    where = subject.shown("timestamp")
    counts = subject.unit.drop_nulls().value_counts(name="rows").sort("rows", descending=True)
    usual = counts["unit"][0] if counts.height else "s"
    total = int(counts["rows"].sum())
    if counts.height > 1:
        other = subject.unit != usual
        what = f"times are not in {_UNITS[usual]} as the others, if their size tells: units are mixed"
        count = total - int(counts["rows"][0])
        yield Hit("error", count, total, where, what, subject.examples(other, "timestamp"))
    elif usual != "s" and not subject.unit_stated:
        first_day = _date(subject.time.drop_nulls()[0])
        what = f"times are in {_UNITS[usual]} and read as such (the first is {first_day})"
        hint = "nothing, if that is right; else state time_unit"
        yield Hit(
            "note", total, total, where, what, subject.examples(subject.unit == usual, "timestamp"), hint
        )
    yield from _shrunk(subject)


def _shrunk(subject: Subject) -> Iterator[Hit]:
    """Seconds that were read as a finer unit: true dates, all of them in the first weeks of 1970."""
    times = subject.time.drop_nulls()
    dated = subject.rows["timestamp"].dtype in (pl.Date, pl.Datetime)
    if dated and len(times) and times.is_between(0, _WEEKS).all():
        every = subject.time.is_not_null()
        what = "all dates lie in the first weeks of 1970: seconds were read as a finer unit"
        examples = subject.examples(every, "timestamp")
        hint = 'read the column again with its unit, in pandas to_datetime(..., unit="s")'
        yield Hit("error", len(times), len(every), subject.shown("timestamp"), what, examples, hint)


def ancient_times(subject: Subject) -> Iterator[Hit]:
    """Times before there was anything to record."""
    bad = subject.time < subject.limits.earliest
    if not (count := int(bad.sum() or 0)):
        return
    every = count == len(bad) - bad.null_count()
    sense = (
        "not one is later: perhaps a counter, so hours and days mean nothing"
        if every
        else "0 often stands for none"
    )
    what = f"times lie before {_date(subject.limits.earliest)}; {sense}"
    yield Hit(
        "warning", count, len(bad), subject.shown("timestamp"), what, subject.examples(bad, "timestamp")
    )


def future_times(subject: Subject) -> Iterator[Hit]:
    """Times that have not come yet."""
    latest = subject.now + subject.limits.future_days * 86_400
    bad = subject.time > latest
    if count := int(bad.sum() or 0):
        rows = first(bad, subject.limits.examples)
        examples = tuple(
            Example(f"{found.text} ({_date(subject.time[row])})", found.row, found.part)
            for row, found in ((row, subject.example(row, "timestamp")) for row in rows)
        )
        what = f"times lie after now ({_date(subject.now)}); a split by time would test on them alone"
        yield Hit("warning", count, len(bad), subject.shown("timestamp"), what, examples)


def _date(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(float(seconds), UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return f"second {seconds:.3g}"


_TIMED = ("timestamp",)
CHECKS = (
    Check(
        "unreadable-times",
        unreadable_times,
        "write times as whole seconds since 1970 or as 2024-05-31T12:00:00Z; drop rows without one",
        _TIMED,
    ),
    Check("fractional-times", fractional_times, "nothing, or round to whole seconds yourself", _TIMED),
    Check("time-unit", time_unit, "bring all rows to seconds", _TIMED),
    Check(
        "ancient-times",
        ancient_times,
        "drop or repair rows whose time is a stand-in for a missing one",
        _TIMED,
    ),
    Check(
        "future-times",
        future_times,
        "look for a wrong clock, time zone or planned events; drop the rows",
        _TIMED,
    ),
)
