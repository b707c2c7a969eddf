"""Events added to what a recommender knows: in any form of table, checked as training's are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from shortlist.api.observing import observed
from shortlist.errors import DataError
from shortlist.features.log import Log
from shortlist.features.schema import Schema
from shortlist.pipeline.recommender import Recommender
from shortlist.state.catalogue import Items
from shortlist.state.past import Past
from shortlist.state.seen import Seen
from shortlist.state.users import Users

DAY = 86_400
NEW = {"user_id": ["bob", "cy"], "item_id": ["i1", "i2"], "rating": [4.0, 2.0], "timestamp": [DAY, 2 * DAY]}


def known(*, timed: bool = True, rated: bool = True) -> Recommender:
    """Of ann and bob, who had i0 and i2."""
    users, items = np.array([0, 1]), np.array([0, 2])
    ratings = np.array([3.0, 5.0]) if rated else None
    log, _ = Log.of(users, items, np.array([10, 20]) if timed else None, ratings, 2)
    seen = Seen.from_pairs(users, items, 2)
    past = Past(log, 4.0, timed)
    catalogue = Items.of(["i0", "i1", "i2"], {}, np.ones(3))
    users_ = Users.of(["ann", "bob"], {}, seen, 20 if timed else None, past)
    return Recommender(catalogue, users_, Schema({}, {}))


def events_of(recommender: Recommender) -> list[tuple[Any, ...]]:
    past, names = recommender.users.past, recommender.users.vocabulary.values
    assert past is not None
    log = past.log
    ratings = [None] * len(log) if log.ratings is None else log.ratings.tolist()
    ids = recommender.items.ids[log.items].tolist()
    return list(zip([names[u] for u in log.users], ids, log.times.tolist(), ratings, strict=True))


ALL = [
    ("ann", "i0", 10, 3.0),
    ("bob", "i2", 20, 5.0),
    ("bob", "i1", DAY, 4.0),
    ("cy", "i2", 2 * DAY, 2.0),
]
DATES = [datetime(1970, 1, 2, tzinfo=UTC), datetime(1970, 1, 3, tzinfo=UTC)]


@pytest.mark.parametrize(
    "rows",
    [
        pl.DataFrame(NEW),
        pd.DataFrame(NEW),
        NEW,
        [dict(zip(NEW, row, strict=True)) for row in zip(*NEW.values(), strict=True)],
        pl.DataFrame({**NEW, "timestamp": DATES}),
        {**NEW, "timestamp": ["1970-01-02", "1970-01-03T00:00:00Z"]},
        {**NEW, "timestamp": [float(DAY), 2.0 * DAY]},
        {**NEW, "rating": ["4", "2.0"]},
        {**NEW, "rating": [4, 2], "device": [None, "phone"], "weight": [-1, None]},
    ],
    ids=["polars", "pandas", "dict", "rows", "dates", "texts", "floats", "numbers in texts", "more columns"],
)
def test_events_in_any_form_are_added(rows: Any) -> None:
    grown = observed(known(), rows)
    assert events_of(grown) == ALL
    assert grown.users.as_of == 2 * DAY + 1
    assert [grown.users.seen.of(u).tolist() for u in range(3)] == [[0], [1, 2], [2]]


def test_whole_numbers_are_ids() -> None:
    catalogue = Items.of(["10", "20", "30"], {}, np.ones(3))
    grown = observed(replace(known(), items=catalogue), {**NEW, "user_id": [7, 8], "item_id": [10, 30]})
    assert [event[:2] for event in events_of(grown)[2:]] == [("7", "10"), ("8", "30")]


def test_milliseconds_become_seconds() -> None:
    late = [893_286_600_000, 893_286_700_500]
    grown = observed(known(), {**NEW, "timestamp": late})
    assert [event[2] for event in events_of(grown)] == [10, 20, 893_286_600, 893_286_700]


def test_columns_that_training_did_not_have_are_not_looked_at() -> None:
    grown = observed(known(timed=False), {**NEW, "timestamp": ["soon", None]})
    assert [event[2] for event in events_of(grown)] == [0, 0, 0, 0] and grown.users.as_of is None
    grown = observed(known(rated=False), {**NEW, "rating": ["good", None]})
    assert [event[3] for event in events_of(grown)] == [None] * 4


def test_no_events_change_nothing() -> None:
    same = known()
    assert observed(same, pl.DataFrame(NEW).clear()) is same


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rating": ["4", "good"]}, "column 'rating', row 1: expected a finite number, got 'good'"),
        ({"rating": [4.0, None]}, "column 'rating', row 1: expected a finite number, got None"),
        ({"rating": [float("nan"), 4.0]}, "column 'rating', row 0: expected a finite number, got nan"),
        ({"timestamp": ["1970-01-02", "soon"]}, "column 'timestamp', row 1: expected a time .*, got 'soon'"),
        ({"timestamp": [None, 5]}, "column 'timestamp', row 0: expected a time, got None"),
        ({"timestamp": [5.0, 5.5]}, "column 'timestamp', row 1: expected whole seconds since 1970, got 5.5"),
        ({"timestamp": [5, 893_286_600_000]}, "column 'timestamp', row 1: expected seconds since 1970, got"),
        ({"user_id": ["ann", None]}, "column 'user_id', row 1: expected an id, got None"),
        ({"item_id": ["i1", None]}, "column 'item_id', row 1: expected an id, got None"),
        ({"item_id": ["i1", "i9"]}, "row 1: item 'i9' is not in"),
        *(({name: None}, f"no column '{name}'") for name in NEW),
    ],
    ids=str,
)
@pytest.mark.parametrize("form", [dict, pl.DataFrame])
def test_what_cannot_be_added(changes: dict[str, Any], message: str, form: Any) -> None:
    given = {name: value for name, value in {**NEW, **changes}.items() if value is not None}
    with pytest.raises(DataError, match=message):
        observed(known(), form(given))


@pytest.mark.parametrize("rows", [7, None, "no such file.csv", {"user_id": "ann", "item_id": "i1"}], ids=str)
def test_what_is_no_table(rows: Any) -> None:
    with pytest.raises(DataError):
        observed(known(), rows)


def test_a_recommender_without_a_past() -> None:
    without = known()
    without = replace(without, users=replace(without.users, past=None))
    with pytest.raises(DataError, match="does not read past events"):
        observed(without, NEW)
