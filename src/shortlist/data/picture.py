"""The picture of a data set: how rows are spread over users, items, ratings and time, as plain values."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from shortlist.data.checks.crowds import gini, top_share
from shortlist.data.dataset import Dataset

PAUSE = 30 * 60
"""Seconds without a row after which a user's next one begins another session."""
_BINS, _TOP, _VALUES = 48, 10, 3
_ROLES = ("user_id", "item_id", "rating", "timestamp", "weight")
_NAMES = ("title", "name", "label")

Bar = dict[str, Any]
"""{"from", "to", "count"}: how many lie between two values, both included."""


def picture(dataset: Dataset) -> dict[str, Any]:
    """Distributions, JSON-ready: what `describe` counts, seen from nearer.

    rows_per_user, rows_per_item: bars whose width doubles. concentration: Gini coefficients, the shares of
    the busiest 1 % of items and users and of the busiest user. top_items. ratings: bars. time: bars of equal
    length, hours of the day (UTC, 24 counts), weekdays (7 counts from Monday). sessions: parted by pauses of
    30 minutes. columns: type, missing and distinct values of everything that is no role. Parts without their
    column are left out.
    """
    rows = dataset.interactions
    per_user, per_item = (rows[name].value_counts(name="rows")["rows"] for name in ("user_id", "item_id"))
    facts: dict[str, Any] = {
        "rows_per_user": doubling(per_user),
        "rows_per_item": doubling(per_item),
        "concentration": {
            "gini_of_items": gini(per_item.to_numpy()),
            "gini_of_users": gini(per_user.to_numpy()),
            "busiest_1_percent_of_items": top_share(per_item.to_numpy()),
            "busiest_1_percent_of_users": top_share(per_user.to_numpy()),
            "busiest_user": float(per_user.max() or 0) / max(rows.height, 1),  # type: ignore[arg-type]
        },
        "top_items": _top_items(dataset),
    }
    if "rating" in rows.columns:
        facts["ratings"] = _ratings(rows["rating"])
    if "timestamp" in rows.columns:
        facts["time"] = _over_time(rows["timestamp"])
        facts["sessions"] = _sessions(rows)
    tables = {"interactions": rows, "users": dataset.users, "items": dataset.items}
    facts["columns"] = [
        _column(table, frame[name])
        for table, frame in tables.items()
        for name in frame.columns
        if name not in _ROLES
    ]
    return facts


def doubling(counts: pl.Series) -> list[Bar]:
    """Bars from 1, 2 to 3, 4 to 7, 8 to 15 and so on: how many counts lie in each."""
    powers = np.frexp(counts.to_numpy().astype(np.float64))[1] - 1  # exact, as logarithms are not
    found = dict(pl.Series("power", powers).value_counts(name="n").iter_rows())
    most = max(found, default=-1)
    return [{"from": 2**p, "to": 2 ** (p + 1) - 1, "count": int(found.get(p, 0))} for p in range(most + 1)]


def _ratings(ratings: pl.Series) -> list[Bar]:
    """A bar a value where there are few, else bars of equal width."""
    counts = ratings.value_counts(name="n").sort("rating")
    if counts.height <= 20:
        return [{"from": value, "to": value, "count": count} for value, count in counts.iter_rows()]
    low, high = float(counts["rating"][0]), float(counts["rating"][-1])
    return _equal(ratings, low, (high - low) / 20, 20)


def _equal(values: pl.Series, low: float, width: float, bins: int) -> list[Bar]:
    at = ((values - low) / width).floor().clip(0, bins - 1).cast(pl.Int64).alias("bin")
    found = dict(at.value_counts(name="n").iter_rows())
    return [
        {"from": low + width * n, "to": low + width * (n + 1), "count": int(found.get(n, 0))}
        for n in range(bins)
    ]


def _over_time(times: pl.Series) -> dict[str, Any]:
    low, high = int(times.min()), int(times.max())  # type: ignore[arg-type]
    bins = min(_BINS, max(1, high - low))
    bars = _equal(times, low, max((high - low) / bins, 1), bins)
    dated = times.cast(pl.Int64).clip(-62_135_596_800, 253_402_300_799)
    moments = pl.from_epoch(dated, time_unit="s")
    hours = dict(moments.dt.hour().alias("hour").value_counts(name="n").iter_rows())
    days = dict(moments.dt.weekday().alias("day").value_counts(name="n").iter_rows())
    return {
        "rows": bars,
        "hours": [int(hours.get(hour, 0)) for hour in range(24)],
        "weekdays": [int(days.get(day, 0)) for day in range(1, 8)],
    }


def _sessions(rows: pl.DataFrame) -> dict[str, Any]:
    """Runs of a user's rows without a longer pause: how many, how long, of how many rows."""
    user = rows["user_id"].cast(pl.Categorical).to_physical()
    log = pl.DataFrame([user.alias("user"), rows["timestamp"].alias("time")]).sort("user", "time")
    starts = (pl.col("user") != pl.col("user").shift()) | (pl.col("time").diff() > PAUSE)
    log = log.with_columns(session=starts.fill_null(True).cum_sum())
    found = log.group_by("session").agg(pl.len().alias("rows"), (pl.col("time").max() - pl.col("time").min()))
    minutes = found["time"] / 60
    return {
        "pause_minutes": PAUSE // 60,
        "count": found.height,
        "per_user": found.height / max(user.n_unique(), 1),
        "rows": _quantiles(found["rows"]),
        "minutes": _quantiles(minutes),
        "rows_per_session": doubling(found["rows"]),
    }


def _quantiles(values: pl.Series) -> dict[str, float]:
    shares = {"median": 0.5, "q75": 0.75, "q99": 0.99, "max": 1.0}
    return {name: float(values.quantile(share, "linear") or 0.0) for name, share in shares.items()}


def _top_items(dataset: Dataset) -> list[dict[str, Any]]:
    counts = dataset.interactions["item_id"].value_counts(name="rows")
    top = _most(counts, "rows", "item_id", _TOP)
    label = next((n for n in _NAMES if dataset.items.schema.get(n) == pl.String), None)
    if label is None:
        return top.to_dicts()
    return top.join(
        dataset.items.select("item_id", label), on="item_id", how="left", maintain_order="left"
    ).to_dicts()


def _column(table: str, column: pl.Series) -> dict[str, Any]:
    """Type, missing and distinct values, and the most frequent ones of a column; of lists those inside."""
    listed = isinstance(column.dtype, pl.List | pl.Array)
    missing = int(column.is_null().sum())
    if column.dtype == pl.String:
        missing += int((column == "").sum())
    elif column.dtype.is_float():
        missing += int(column.is_nan().sum())
    flat = (
        (column.arr.to_list() if isinstance(column.dtype, pl.Array) else column).explode()
        if listed
        else column
    )
    counts = flat.drop_nulls().alias("value").value_counts(name="n")
    top = _most(counts, "n", "value", _VALUES)
    return {
        "table": table,
        "column": column.name,
        "type": str(column.dtype),
        "missing": missing,
        "missing_share": missing / max(len(column), 1),
        "distinct": counts.height,
        "frequent": [{"value": str(value), "count": count} for value, count in top.iter_rows()],
    }


def _most(counts: pl.DataFrame, by: str, then: str, k: int) -> pl.DataFrame:
    """The k rows with the most, in order; among equals the first in the order of `then`. No whole sort."""
    top = counts.top_k(k, by=[by, then], reverse=[False, True])
    return top.sort(by, then, descending=[True, False])
