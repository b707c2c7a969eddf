"""A recommender of known answers: vectors and ratings are looked up, nothing is learned."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from shortlist._typing import Array, Columns, Floats, Longs
from shortlist.features.schema import Schema
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility
from shortlist.state.catalogue import Items
from shortlist.state.seen import Seen
from shortlist.state.users import Users

NUM_USERS, NUM_ITEMS = 12, 30
RNG = np.random.default_rng(3)
USER_VECTORS = RNG.normal(size=(NUM_USERS + 1, 4)).astype(np.float32)
ITEM_VECTORS = RNG.integers(-2, 3, (NUM_ITEMS + 1, 4)).astype(np.float32)  # small integers: ties
USER_IDS = [f"u{i}" for i in range(NUM_USERS)]
ITEM_IDS = [f"i{(i * 7) % NUM_ITEMS:02d}" for i in range(NUM_ITEMS)]
COUNTS = RNG.integers(0, 5, NUM_ITEMS)
SEEN = RNG.random((NUM_USERS, NUM_ITEMS)) < 0.3
SEEN[5] = True


def rows(ids: Array, known: list[str]) -> Array:
    return np.array([known.index(i) if i in known else len(known) for i in ids])


@dataclass(eq=False)
class Known:
    """A Scorer whose representation is the vector, age (or year) and time beside it."""

    retrieves: bool = True
    asked: list[Columns] = field(default_factory=list)

    def encode_query(self, columns: Columns) -> tuple[Floats, Floats | None]:
        self.asked.append(columns)
        vectors = USER_VECTORS[rows(columns["user_id"], USER_IDS)]
        age = np.nan_to_num(columns["age"], nan=0)[:, None]
        time = columns["timestamp"][:, None] / 1000
        return np.concatenate([vectors, age, time], 1).astype(np.float32), vectors if self.retrieves else None

    def encode_candidate(self, columns: Columns) -> tuple[Floats, Floats | None]:
        vectors = ITEM_VECTORS[rows(columns["item_id"], ITEM_IDS)]
        year = columns["year"][:, None] / 100
        return np.concatenate([vectors, year, year], 1).astype(
            np.float32
        ), vectors if self.retrieves else None

    def predict(
        self,
        query: Floats,
        candidate: Floats,
        aggregates: dict[str, Floats] | None = None,
        rows: Longs | None = None,
    ) -> dict[str, Floats]:
        if rows is not None:
            query, candidate = query[:, None], candidate[rows]
        return {"rating": np.sin((query * candidate).sum(-1))}


@pytest.fixture
def items() -> Items:
    titles = np.array([f"Film {i}" for i in ITEM_IDS], object)
    genres = np.array([["War", "Drama"], ["", ""], ["Drama", ""]] * 10, object)
    return Items.of(ITEM_IDS, {"title": titles, "year": np.arange(NUM_ITEMS) * 10, "genres": genres}, COUNTS)


@pytest.fixture
def users() -> Users:
    user, item = np.nonzero(SEEN)
    return Users.of(
        USER_IDS, {"age": np.arange(NUM_USERS) * 1.5}, Seen.from_pairs(user, item, NUM_USERS), 5000
    )


SCHEMA = Schema(
    {"user_id": "string", "age": "float", "timestamp": "int"}, {"item_id": "string", "year": "int"}, {}
)


@pytest.fixture
def joint(items: Items, users: Users) -> Recommender:
    both = Known()
    return Recommender.of(
        items, users, SCHEMA, retriever=both, ranker=both, utility=Utility(0.5), num_retrieved=8
    )


@pytest.fixture
def ranker_only(items: Items, users: Users) -> Recommender:
    return Recommender.of(items, users, SCHEMA, ranker=Known(retrieves=False), num_retrieved=8)
