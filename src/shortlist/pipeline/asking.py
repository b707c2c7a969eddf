"""What the graph `recommend` of a bundle is to be given: all that the recommender fills in by itself."""

from __future__ import annotations

import numpy as np

from shortlist._typing import Array, Columns
from shortlist.features.log import Standing
from shortlist.features.requests import Request
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.shortlists import asked_columns
from shortlist.state.catalogue import Items
from shortlist.state.seen import Seen


def recommend_inputs(
    recommender: Recommender, queries: Request, k: int, *, filter_seen: bool = True
) -> Columns:
    """What the graph is to be given so that it answers as `Recommender.recommend(queries, k)` does.

    A request's time may be among it though the graph does not read it: lists of past items were made with it.
    """
    asked, items = recommender.read(queries), recommender.items
    at, count = Standing.of(asked.users, asked.times), len(asked)
    inputs: Columns = {n: np.asarray(column) for n, column in asked_columns(recommender, asked).items()}
    taken = recommender.taken(asked.users, asked.told)
    inputs["exclude"] = _ids(items, taken) if filter_seen else np.full((count, 0), "", object)
    bonus = recommender.bonus(at, asked.told)
    if bonus is not None:
        inputs["bonus"] = _ids(items, bonus[0])
    numbers = recommender.aggregator(at, asked.told, asked.columns)
    pairs = np.repeat(np.arange(count), len(items)), np.tile(np.arange(len(items)), count)
    for head, values in numbers(*pairs).items():
        inputs[f"{head}_aggregates"] = values.reshape(count, len(items), -1)
    return inputs | {"k": np.array([k])}


def _ids(items: Items, chosen: Seen) -> Array:
    """The ids of each query's items, text [b, any] padded with ""."""
    counts, (rows, places) = np.diff(chosen.indptr), chosen.pairs()
    listed = np.full((len(counts), int(counts.max(initial=0))), "", object)
    listed[rows, np.arange(len(rows)) - chosen.indptr[rows]] = items.ids[places]
    return listed
