"""Times in whatever form tables have them: which form a column has, and the column as seconds since 1970."""

from __future__ import annotations

from itertools import product

import polars as pl

from shortlist.data.columns import seconds

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""Units of numbers."""
ISO, DAY = "iso", "yyyymmdd"
FARTHEST_SECOND = 100_000_000_000
"""The year 5138; milliseconds pass it from 1973 on."""

_EARLIEST, _LATEST = (
    315_532_800,
    4_102_444_800,
)  # 1980 and 2100: where numbers are taken for times by themselves
_MOST_TEXTS, _MOST_NUMBERS = 0.8, 0.95
"""Shares of texts (which hardly read as times by chance) and of numbers that make a column one of times."""
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_DATES = (
    *(f"%Y{sign}%m{sign}%d" for sign in "/."),
    *(f"%{first}{sign}%{second}{sign}%Y" for sign in "/.-" for first, second in ("dm", "md")),
    "%d %B %Y",
    "%B %d, %Y",  # %B reads short names too
    "%m %d, %Y",
)  # fmt: skip
PATTERNS = (*("".join(pair) for pair in product(_DATES, _CLOCKS)), "%a %b %d %H:%M:%S %z %Y")
"""Forms of texts beside ISO 8601, as `strptime` writes them."""


def units_of(column: pl.Series) -> list[str]:
    """The forms in which every value of a column reads as a time between 1980 and 2100: of "s", "ms", "us",
    "ns", "yyyymmdd" (numbers, or texts of them), "iso" (dates and times as such, or ISO 8601 texts) or a
    pattern. More than one where days and months cannot be told apart; none where it is no time."""
    given = column.drop_nulls()
    if not len(given):
        return []
    if given.dtype in (pl.Date, pl.Datetime):
        return [ISO]
    if given.dtype == pl.String:
        numbers = given.cast(pl.Int64, strict=False)
        return _patterns_of(given) if numbers.null_count() else _units_of_numbers(numbers)
    if given.dtype.is_integer() or given.dtype.is_float():
        return _units_of_numbers(given)
    return []


def nearly_units_of(column: pl.Series) -> list[str]:
    """The forms in which almost every value of a column reads as such a time, of those of `units_of`: what it
    would be, were it not for a few values."""
    given = column.drop_nulls()
    if given.dtype == pl.String:
        some = given.gather_every(max(1, len(given) // 100))
        forms = [one for one in (ISO, *PATTERNS) if _share(some, one) >= _MOST_TEXTS - 0.1]
        forms = [one for one in forms if _share(given, one) >= _MOST_TEXTS]
        if forms or given.str.contains(r"^0\d").any():  # numbers do not begin with 0
            return forms
        given = given.cast(pl.Int64, strict=False)
    if not (given.dtype.is_integer() or given.dtype.is_float()):
        return []
    return [one for one in (*PER_SECOND, DAY) if _share(given, one) >= _MOST_NUMBERS]


def fits(given: pl.Series, unit: str) -> pl.Series:
    """Whether each value, a number or a text as the unit is of, is a time between 1980 and 2100 in it."""
    if unit in PER_SECOND:
        return given.is_between(_EARLIEST * PER_SECOND[unit], _LATEST * PER_SECOND[unit]).fill_null(False)
    if unit == DAY:
        days = given.cast(pl.Int64, strict=False).cast(pl.String).str.to_date("%Y%m%d", strict=False)
        return days.is_not_null() & given.is_between(19_800_101, 21_000_101)
    times = _iso(given) if unit == ISO else _by_pattern(given, unit)
    return times.dt.epoch("s").is_between(_EARLIEST, _LATEST).fill_null(False)


def unit_of_size(times: pl.Series) -> str:
    """The unit of numbers, by their size alone: "s" up to the year 5138, then "ms", "us", "ns"; "s" too where
    some are small and some large."""
    if not len(times):
        return "s"
    least = int(times.abs().min() or 0)  # type: ignore[arg-type]
    largest = int(times.abs().max() or 0)  # type: ignore[arg-type]
    for unit, per_second in (("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        start = FARTHEST_SECOND * (per_second // 1000)
        if start < least and (largest <= start * 1000 or unit == "ns"):
            return unit
    return "s"


def parsed(column: pl.Series, unit: str = "") -> pl.Series:
    """Texts as whole numbers, else as times; null where a text is neither. unit: of numbers, a pattern, or
    "" for ISO 8601 dates and times (UTC where no zone is given) and, where none is, the one pattern that fits
    all."""
    numbers = column.cast(pl.Int64, strict=False)
    if "%" in unit:
        return _by_pattern(column, unit)
    if unit in (*PER_SECOND, DAY) or numbers.null_count() == column.null_count():
        return numbers
    iso = _iso(column)
    if iso.null_count() > column.null_count():
        forms = _patterns_of(column.drop_nulls()) or nearly_units_of(column)
        if len(forms) == 1 and "%" in forms[0]:
            return _by_pattern(column, forms[0])
    # mostly whole numbers with a stray text: the text is what is wrong, not the numbers
    return iso if iso.null_count() < numbers.null_count() else numbers


def scaled(times: pl.Series, unit: str) -> pl.Series:
    """Numbers of a unit, or dates and times, as Int64 seconds since 1970 (UTC), rounded down."""
    if times.dtype in (pl.Date, pl.Datetime):
        return seconds(times)
    if unit == DAY:
        return seconds(times.cast(pl.Int64).cast(pl.String).str.to_date("%Y%m%d", strict=False))
    if times.dtype.is_float():
        return (times / PER_SECOND.get(unit, 1)).floor().cast(pl.Int64)
    return seconds(times) // PER_SECOND.get(unit, 1)


def _units_of_numbers(given: pl.Series) -> list[str]:
    if given.dtype.is_float() and not given.is_finite().all():
        return []
    least, most = float(given.min()), float(given.max())  # type: ignore[arg-type]
    for unit, per_second in PER_SECOND.items():
        if _EARLIEST * per_second <= least and most <= _LATEST * per_second:
            return [unit]
    if least >= 19_800_101 and most <= 21_000_101 and (given == given.floor()).all():
        days = given.cast(pl.Int64).cast(pl.String).str.to_date("%Y%m%d", strict=False)
        return [] if days.null_count() else [DAY]
    return []


def _share(given: pl.Series, unit: str) -> float:
    return int(fits(given, unit).sum()) / max(1, len(given))


def _patterns_of(given: pl.Series) -> list[str]:
    """ "iso", else every pattern that reads all texts as times of those years."""
    first = given.head(50)
    if not _iso(first).null_count():
        return [] if _iso(given).null_count() else [ISO]
    return [p for p in PATTERNS if _reads(first, p) and _reads(given, p)]


def _reads(given: pl.Series, pattern: str) -> bool:
    times = _by_pattern(given, pattern)
    if times.null_count():
        return False
    whole = times.dt.epoch("s")
    return int(whole.min()) >= _EARLIEST and int(whole.max()) <= _LATEST  # type: ignore[arg-type]


def _by_pattern(column: pl.Series, pattern: str) -> pl.Series:
    texts = column.str.strip_chars()
    found = texts.str.to_datetime(pattern, strict=False, time_unit="us")
    return found.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if "%z" in pattern else found


def _iso(column: pl.Series) -> pl.Series:
    texts = column.str.strip_chars().str.replace(r"^([\d-]+)T", "$1 ").str.replace(r"(Z| UTC)$", "+00:00")
    zoned = texts.str.to_datetime(
        "%Y-%m-%d %H:%M:%S%.f%:z", strict=False, time_unit="us"
    ).dt.replace_time_zone(None)
    plain = texts.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
    dates = texts.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us"))
    minutes = texts.str.to_datetime("%Y-%m-%d %H:%M", strict=False, time_unit="us")
    return pl.select(pl.coalesce(zoned, plain, dates, minutes).alias(column.name))[column.name]
