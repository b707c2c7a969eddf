from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shortlist.api.fitting import Fitted
from shortlist.api.indexing import about_index, indexed
from shortlist.index import build as building
from shortlist.pipeline.recommender import Recommender
from shortlist.recipes.infer import for_index
from shortlist.specs.features import Id
from shortlist.specs.models import MultiTask, Tower, TwoTower
from shortlist.specs.recipe import Serving
from shortlist.specs.tasks import Rating, Retrieval

TOWERS = (Tower((Id("user_id", 8),)), Tower((Id("item_id", 8),)))


@pytest.fixture(scope="module")
def recommender(joint: Fitted) -> Recommender:
    return joint.recommender()


def test_an_approximate_index_is_tuned_on_the_users(
    recommender: Recommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(building, "_FEW", 2)
    monkeypatch.setattr(building, "_DEPTH", 5)
    made = indexed(recommender, "ann", recall=0.98)
    assert made.index is not None and made.index.describe()["queries"] == "given"
    said = about_index(made)
    assert "of the exact best 5" in said[0] and "differ in length" in said[1]
    asked = list(recommender.users.vocabulary.values[:20])
    near, right = (one.recommend(asked, k=5)["item_id"].tolist() for one in (made, recommender))
    assert len(near) == len(right) and np.mean([a == b for a, b in zip(near, right, strict=True)]) > 0.8


def test_exact_search_needs_no_index(recommender: Recommender) -> None:
    assert indexed(recommender).index is None and about_index(indexed(recommender)) == []
    alone = replace(recommender, retriever=None, item_vectors=None)
    assert indexed(alone, "ann") is alone


def test_an_inferred_model_suits_its_index() -> None:
    task = Retrieval(item_bias=True)
    near, joint = TwoTower(*TOWERS, task), MultiTask(*TOWERS, tasks=(task, Rating()))
    for model in (near, joint):
        assert for_index(model, Serving(), 100_000) == (model, ())
        suited, reasons = for_index(model, Serving(), 200_000)
        assert suited.retrieval is not None and suited.heads == model.heads
        assert suited.retrieval.normalize and suited.retrieval.learned_temperature
        assert not suited.retrieval.item_bias and "200,000 items" in reasons[0]
    assert for_index(near, Serving(index="ann"), 10)[0] != near
    assert for_index(near, Serving(index="exact"), 10**7) == (near, ())
    assert for_index(near, Serving(latency_ms=50.0), 200_000) == (near, ())
