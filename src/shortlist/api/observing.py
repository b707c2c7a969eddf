"""A recommender that has seen more events: its parameters stay, what it knows of users grows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from shortlist._typing import Columns
from shortlist.api.preparing import positions_of, user_indices
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError
from shortlist.features.log import Log
from shortlist.features.requests import take_rows
from shortlist.pipeline.recommender import Recommender
from shortlist.state.past import Past
from shortlist.state.seen import Seen
from shortlist.state.users import Users


def observed(recommender: Recommender, rows: pl.DataFrame) -> Recommender:
    """The recommender with further events (user_id, item_id, timestamp, and rating where training had one),
    also of users training did not know.

    Raises DataError where it holds no past to add to, for items outside its catalogue and for rows without
    the columns its past has.
    """
    users, past = recommender.users, recommender.users.past
    if past is None:
        raise DataError(
            "this recommender's model does not read past events, so there is nothing to add them to",
            hint="train one with a History or a Bag",
        )
    for name, needed in (("timestamp", past.timed), ("rating", past.log.ratings is not None)):
        if needed and name not in rows.columns:
            raise DataError(f"the events have no column {name!r}, which training had")
    items = pl.DataFrame({"item_id": recommender.items.ids.tolist()}, schema={"item_id": pl.String})
    positions = positions_of(rows, items)
    known = list(users.vocabulary.values)
    more = rows["user_id"].unique(maintain_order=True).to_list()
    vocabulary = Vocabulary.of([*known, *(u for u in more if u not in users.vocabulary)])
    who = user_indices(rows, vocabulary)
    log = past.log
    times = rows["timestamp"].to_numpy() if past.timed else np.zeros(rows.height, np.int64)
    ratings = None
    if log.ratings is not None:
        ratings = np.concatenate([log.ratings, rows["rating"].cast(pl.Float32).to_numpy()])
    grown, _ = Log.of(
        np.concatenate([log.users, who]),
        np.concatenate([log.items, positions]),
        np.concatenate([log.times, times]),
        ratings,
        len(vocabulary),
    )
    places = np.concatenate([np.arange(len(known)), np.full(len(vocabulary) - len(known), -1)])
    columns: Columns = {name: take_rows(column, places) for name, column in users.columns.items()}
    if "timestamp" in columns and past.timed:
        latest = np.full(len(vocabulary), np.iinfo(np.int64).min)
        np.maximum.at(latest, grown.users, grown.times)
        columns["timestamp"] = latest + 1
    as_of = None if users.as_of is None else max(users.as_of, int(times.max(initial=0)) + 1)
    seen = Seen.from_pairs(grown.users, grown.items, len(vocabulary))
    state = Users(vocabulary, columns, seen, as_of, Past(grown, past.mean, past.timed))
    return replace(recommender, users=state)
