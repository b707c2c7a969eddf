"""A recommender that has seen more events: its parameters stay, what it knows of users grows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from shortlist._typing import Columns
from shortlist.api.preparing import positions_of, user_indices
from shortlist.data.reading import Source
from shortlist.data.tables import interactions
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError
from shortlist.features.log import Log
from shortlist.features.requests import take_rows
from shortlist.pipeline.recommender import Recommender
from shortlist.state.seen import Seen
from shortlist.state.users import Users


def observed(recommender: Recommender, rows: Source) -> Recommender:
    """The recommender with further events (user_id, item_id, timestamp, and rating where training had one),
    also of users training did not know. rows: a path or any table, as `data.tables.interactions` reads it;
    times may be dates, texts or in milliseconds. An empty frame changes nothing.

    Raises DataError where it holds no past to add to, for items outside its catalogue, for a column its past
    has and the rows lack, and, naming row and column, for values that are missing or wrong.
    """
    users, past = recommender.users, recommender.users.past
    if past is None:
        raise DataError(
            "this recommender's model does not read past events, so there is nothing to add them to",
            hint="train one with a History or a Bag",
        )
    if isinstance(rows, pl.DataFrame) and not rows.height:
        return recommender
    table = interactions(
        rows,
        timestamp="timestamp" if past.timed else "",
        rating="" if past.log.ratings is None else "rating",
        weight="",
    )
    items = pl.DataFrame({"item_id": recommender.items.ids.tolist()}, schema={"item_id": pl.String})
    positions = positions_of(table, items)
    known = list(users.vocabulary.values)
    more = table["user_id"].unique(maintain_order=True).to_list()
    vocabulary = Vocabulary.of([*known, *(u for u in more if u not in users.vocabulary)])
    who = user_indices(table, vocabulary)
    log = past.log
    times = table["timestamp"].to_numpy() if past.timed else np.zeros(table.height, np.int64)
    ratings = None
    if log.ratings is not None:
        ratings = np.concatenate([log.ratings, table["rating"].cast(pl.Float32).to_numpy()])
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
    state = Users(vocabulary, columns, seen, as_of, replace(past, log=grown))
    return replace(recommender, users=state)
