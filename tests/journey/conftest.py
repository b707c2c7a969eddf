"""One joint model on MovieLens 100K and two models trained apart, each fitted once."""

from __future__ import annotations

from pathlib import Path

import pytest

import shortlist as sl
from shortlist.api.fitting import Fitted, fit
from shortlist.evaluation.report import Report
from shortlist.recipes.run import find_recipe

EPOCHS = 2


@pytest.fixture(scope="session")
def trained(split: sl.Split) -> Fitted:
    """The shipped joint model of ids, titles and time after two epochs."""
    recipe = find_recipe("ml100k-ids")
    return fit(recipe.model, split, training=recipe.training, epochs=EPOCHS)


@pytest.fixture(scope="session")
def recommender(trained: Fitted) -> sl.Recommender:
    """That model as two stages, in JAX."""
    return trained.recommender(rating_weight=0.3)


@pytest.fixture(scope="session")
def bundle(recommender: sl.Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("journey") / "bundle"
    recommender.save(path)
    return path


@pytest.fixture(scope="session")
def loaded(bundle: Path) -> sl.Recommender:
    """The same from disk, in ONNX Runtime."""
    return sl.load(bundle)


@pytest.fixture(scope="session")
def report(trained: Fitted) -> Report:
    """The trained model judged without baselines, ranks counted by a compiled program."""
    return sl.evaluate(trained, baselines=False, resamples=50)


@pytest.fixture(scope="session")
def retrieval_alone(small_split: sl.Split) -> Fitted:
    query = sl.Tower([sl.Id("user_id", 8), sl.Cyclic("timestamp", "hour_of_day")], out=8)
    candidate = sl.Tower([sl.Id("item_id", 8), sl.Tags("genres", 8)], out=8)
    return sl.fit(sl.TwoTower(query, candidate), small_split.refit(), epochs=2, batch_size=512)


@pytest.fixture(scope="session")
def ranking_alone(small_split: sl.Split) -> Fitted:
    query = sl.Tower([sl.Id("user_id", 8), sl.Category("occupation", 4)])
    candidate = sl.Tower([sl.Id("item_id", 8), sl.Normalize("year")])
    rating = sl.Rating("rating", hidden=[8])
    return sl.fit(sl.Ranker(query, candidate, [rating]), small_split.refit(), epochs=2, batch_size=512)
