"""Giving a recommender the index it was asked to have, tuned on its own users."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from shortlist.index.build import build, choose, require_recall
from shortlist.pipeline.recommender import Recommender

_USERS = 1024  # whose queries an approximate index is tuned and measured on


def indexed(
    recommender: Recommender, kind: str = "auto", *, recall: float = 0.95, latency_ms: float | None = None
) -> Recommender:
    """The recommender with an index over its item vectors, see `index.build.build`; itself where it does not
    retrieve, or where exact search is chosen, which needs none.

    An approximate index is tuned on the queries of up to 1,024 of its users. Raises as `build`.
    """
    require_recall(recall)
    if recommender.item_vectors is None:
        return recommender
    vectors = np.asarray(recommender.item_vectors)
    if choose(len(vectors), vectors.shape[1], kind, latency_ms) == "exact":
        return replace(recommender, index=None)
    users = recommender.users.vocabulary.values
    some = np.random.default_rng(0).permutation(len(users))[:_USERS]
    asked = recommender.query_vectors([users[at] for at in some]) if len(some) > 1 else None
    retired = recommender.items.retired
    removed = None if retired is None else np.flatnonzero(retired)
    return replace(recommender, index=build(vectors, "ann", queries=asked, recall=recall, removed=removed))


def about_index(recommender: Recommender) -> list[str]:
    """What is to be said of its approximate index: what it finds, and a warning where its vectors do not suit
    one. Nothing of exact search."""
    if recommender.index is None or recommender.index.kind != "ann":
        return []
    told = recommender.index.describe()
    said = [
        f"approximate index: finds {told['recall_of_lists']:.1%} of the exact best {told['recall_k']} in"
        f" {told['nprobe']:,} of {told['lists']:,} lists"
    ]
    if told["items"] <= told["exact_below"]:
        said.append(
            f"its {told['items']:,} items are searched exactly: lists are looked into from"
            f" {told['exact_below'] + 1:,} items on"
        )
    if not told["normalized"]:
        said.append(
            "warning: the item vectors differ in length, which an approximate index handles badly; measured"
            f" recall@{told['recall_k']} is {told['recall_of_lists']:.1%}. Retrieval with normalize = true,"
            " learned_temperature = true and without item_bias gives vectors of one length"
        )
    if told["recall_of_lists"] < told["target"]:
        said.append(f"warning: recall is below the target of {told['target']:.1%}")
    return said
