"""Untrained recommenders in JAX, what their bundles are written from, and one bundle that is on disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from shortlist import bundle
from shortlist._typing import MISSING_INT, Columns
from shortlist.bundle import Part
from shortlist.export.graphs import export_graphs
from shortlist.export.packing import pack
from shortlist.export.recommending import recommend_graph
from shortlist.features.encoder import Encoder
from shortlist.features.schema import Schema
from shortlist.models.build import build
from shortlist.models.scorer import JaxScorer
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility
from shortlist.specs.features import Bucket, Id, Normalize, Tags, Text
from shortlist.specs.models import Model, MultiTask, Ranker, Tower, TwoTower
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.state.catalogue import Items
from shortlist.state.seen import Seen
from shortlist.state.users import Users

Made = tuple[Recommender, dict[str, Part]]

RNG = np.random.default_rng(5)
NUM_USERS, NUM_ITEMS = 25, 60
USERS = [str(i) for i in range(NUM_USERS)]
ITEM_COLUMNS: Columns = {
    "item_id": np.array([f"m{i}" for i in range(NUM_ITEMS)], object),
    "title": np.array([f"Le film n° {i % 11} ({1950 + i})" for i in range(NUM_ITEMS)], object),
    "genres": np.array([["Drama", "War"], ["", ""], ["War", ""]] * 20, object),
    "year": np.array([1950 + i if i % 5 else MISSING_INT for i in range(NUM_ITEMS)]),
}
QUERIES: Columns = {
    "user_id": np.array(USERS * 4, object),
    "timestamp": RNG.integers(874_724_710, 893_286_638, NUM_USERS * 4),
    "age": np.tile(RNG.normal(35, 9, NUM_USERS), 4),
}
SEEN = RNG.random((NUM_USERS, NUM_ITEMS)) < 0.2
QUERY = Tower((Id("user_id", 8), Bucket("timestamp", 20, 8), Normalize("age")), out=8)
CANDIDATE = Tower((Id("item_id", 8), Text("title", 99, 8), Tags("genres", 8)), out=8)
RATING = Rating(hidden=(16,))
MODELS: dict[str, dict[str, Model]] = {
    "joint": {"model": MultiTask(QUERY, CANDIDATE, tasks=(Retrieval(item_bias=True), RATING))},
    "retrieval alone": {"retrieval": TwoTower(QUERY, CANDIDATE)},
    "ranking alone": {"ranking": Ranker(QUERY, CANDIDATE, tasks=(RATING,))},
    "apart": {
        "retrieval": TwoTower(Tower((Id("user_id", 8),), out=4), Tower((Id("item_id", 8),), out=4)),
        "ranking": Ranker(QUERY, CANDIDATE, tasks=(RATING,)),
    },
}


def make(models: dict[str, Model]) -> tuple[Recommender, dict[str, Part]]:
    """A recommender of untrained (but not zero) models in JAX, and what a bundle of it is written from."""
    scorers, parts = {}, {}
    for name, model in models.items():
        encoder = Encoder.fit(model, QUERIES, ITEM_COLUMNS)
        net, tables = build(model, encoder.sizes, means={"rating": 3.5}, seed=3)
        tables = {
            k: jax.device_put(np.asarray(RNG.normal(size=t.shape), np.float32)) for k, t in tables.items()
        }
        scorers[name] = JaxScorer(net, tables, encoder)
        graphs, weights = pack(export_graphs(net, tables, encoder, queries=QUERIES, candidates=ITEM_COLUMNS))
        parts[name] = Part(graphs, encoder, weights)
    user, item = np.nonzero(SEEN)
    recommender = Recommender.of(
        Items.of(ITEM_COLUMNS["item_id"], ITEM_COLUMNS, SEEN.sum(0)),
        Users.of(
            USERS, {"age": QUERIES["age"][:NUM_USERS]}, Seen.from_pairs(user, item, NUM_USERS), 893_286_638
        ),
        Schema.of(*(part.encoder for part in parts.values())),
        retriever=scorers.get("model", scorers.get("retrieval")),
        ranker=scorers.get("model", scorers.get("ranking")),
        utility=Utility(0.4 if "ranking" in models or "model" in models else 0.0),
        num_retrieved=20,
        provenance={"recipe": {"seed": 3}, "data": {"name": "synthetic"}, "licence": "CC0"},
        writer=lambda rec, path: bundle.save(rec, parts, path),
    )
    return recommender, parts


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Made]:
    """Makes a recommender and its parts: of a named set of models, or of given ones."""
    return lambda models: make(MODELS[models] if isinstance(models, str) else models)


@pytest.fixture(scope="session")
def made(make_bundle: Callable[..., Made]) -> Made:
    return make_bundle("joint")


@pytest.fixture(scope="session")
def saved(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole bundle of a jointly trained model, not to be changed."""
    recommender, parts = made
    weights = {name: bytes(part.weights) for name, part in parts.items()}
    graph = recommend_graph(recommender, {name: part.graphs for name, part in parts.items()}, weights)
    path = tmp_path_factory.mktemp("bundles") / "joint"
    bundle.save(recommender, parts, path, recommend=graph)
    return path


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A bundle to break."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))
