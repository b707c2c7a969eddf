"""What a bundle is, how it was judged, a map of its items: from the bundle alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import UNSET

import shortlist as sl
from shortlist.server.about import in_brief, in_full, rating_scale
from shortlist.server.answers.judging import Figure
from shortlist.server.bundles import Loaded, Variant
from shortlist.server.columns import column_about
from shortlist.server.judging import evaluation
from shortlist.server.mapping import Axes, chosen
from shortlist.server.settings import Side


def test_about(client: Any, recommender: sl.Recommender) -> None:
    [side] = client.get("/v1/about").json()["sides"]
    [bundle] = client.get("/v1/bundles").json()["bundles"]
    assert {name: side[name] for name in bundle} | {"utility": bundle["utility"]} == bundle
    assert side["utility"]["rating_weight"] == bundle["utility"]["rating_weight"]
    assert side["reads"] == {
        "user_id": True,
        "timestamp": True,
        "history": False,
        "item": ["item_id", "title"],
    }
    assert [one["name"] for one in side["context"]] == ["timestamp"] and side["context"][0]["kind"] == "time"
    assert [(one["name"], one["column"]) for one in side["heads"]] == [("rating", "rating")]
    assert [term["name"] for term in side["utility"]["terms"]] == ["retrieval_score", "rating"]
    assert side["stages"]["retrieval"] and side["stages"]["ranking"] and side["utility"]["adjustable"]
    kinds = {one["name"]: one["kind"] for one in side["columns"]["items"]}
    assert kinds == {"title": "text", "year": "number", "genres": "tags"}
    answer = client.post("/v1/recommend", json={"user_id": "1", "k": side["limits"]["explain_k"]})
    item = answer.json()["items"][0]
    assert {one["name"] for one in side["utility"]["terms"]} <= item.keys()
    assert side["has"] == {"evaluation": False, "map": True, "similar": True, "events": False}
    assert client.get("/v1/about?side=none").json()["pointer"] == "/side"
    unknown = client.get("/v1/about?sides=a").json()
    assert (unknown["pointer"], unknown["hint"]) == ("/sides", "did you mean 'side'? known: side")


def variant(recommender: sl.Recommender, **manifest: Any) -> Variant:
    """A side of nothing on disk."""
    return Variant(Side(name="a", path=Path()), Loaded("a", "v", recommender, None, manifest))


def test_about_a_model_without_a_ranker(recommender: sl.Recommender) -> None:
    alone = variant(replace(recommender, ranker=None))
    assert in_brief(alone).utility is None
    told = in_full(alone, keeps_events=False).utility
    assert (told.rating_weight, told.head, told.heads) == (None, None, [])
    assert [term.name for term in told.terms] == ["retrieval_score"]


def test_the_scale_that_is_told_is_the_one_events_keep_to(recommender: sl.Recommender) -> None:
    described = {"data": {"described": {"rating": {"min": 1.0, "max": 5.0}}}}
    assert in_brief(variant(recommender)).rating_scale is None
    known = replace(recommender, provenance=described)
    assert rating_scale(known) == (1.0, 5.0)
    assert in_brief(variant(known, provenance=described)).rating_scale == [1.0, 5.0]


def test_what_columns_hold() -> None:
    texts = np.array(["a", "b", "a", ""], object)
    assert msgspec.to_builtins(column_about("x", texts)) == {
        "name": "x", "missing": 1, "kind": "category", "distinct": 2, "examples": ["a", "b"],
    }  # fmt: skip
    assert column_about("x", texts, names_rows=True).kind == "text"
    tags = np.array([["a", "b"], ["b", ""]], object)
    assert column_about("x", tags).examples == ["b", "a"] and column_about("x", tags).kind == "tags"
    numbers = column_about("x", np.array([3, 1, np.iinfo(np.int64).min, 3]))
    assert (numbers.kind, numbers.least, numbers.most, numbers.missing) == ("number", 1, 3, 1)
    assert column_about("x", np.array([0, 1, 1])).kind == "flag"
    long = column_about("x", np.arange(120_000))
    assert long.sampled is True and long.distinct is None and long.least == 0


def test_map(client: Any, recommender: sl.Recommender) -> None:
    answer = client.get("/v1/map?by=year&limit=10&item=50&item=none").json()
    assert answer["chosen"] == "popular" and len(answer["ids"]) == answer["shown"] == 10
    assert "50" in answer["ids"] and answer["kind"] == "number"
    popular = recommender.items.ids[recommender.items.by_popularity[:9]].tolist()
    assert set(popular) <= set(answer["ids"])
    whole = client.get("/v1/map").json()
    assert whole["chosen"] == "all" and whole["shown"] == whole["total"] == len(recommender.items)
    at = whole["ids"].index("50")
    assert (whole["x"][at], whole["y"][at]) == (
        answer["x"][answer["ids"].index("50")],
        answer["y"][answer["ids"].index("50")],
    )
    assert client.get("/v1/map?by=none").json()["pointer"] == "/by"
    assert client.get("/v1/map?limit=5001").json()["pointer"] == "/limit"


def test_axes_are_those_of_a_singular_value_decomposition() -> None:
    vectors = np.random.default_rng(4).normal(size=(60, 5)).astype(np.float32)
    vectors *= np.array([5, 3, 1, 1, 1], np.float32)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    _, singular, rows = np.linalg.svd((units - units.mean(0)).astype(np.float64))
    axes = Axes.of(vectors)
    assert axes.shares == pytest.approx(singular[:2] ** 2 / (singular**2).sum(), rel=1e-5)
    placed = axes.places(vectors)
    for n in range(2):
        expected = (units - units.mean(0)) @ rows[n]
        np.testing.assert_allclose(np.abs(placed[:, n]), np.abs(expected), atol=1e-5)
        assert axes.axes[n][np.abs(axes.axes[n]).argmax()] > 0
    same = Axes.of(np.ones((4, 1), np.float32))
    assert same.places(np.ones((4, 1), np.float32)).tolist() == [[0, 0]] * 4 and same.shares == (0, 0)


def test_the_retired_are_on_no_map(recommender: sl.Recommender) -> None:
    gone = recommender.remove_items([recommender.items.ids[recommender.items.by_popularity[0]]])
    nobody = np.zeros(0, np.int64)
    for limit in (5, 5_000):
        assert recommender.items.by_popularity[0] not in chosen(gone, limit, nobody)[0]


def test_a_report_of_another_form_is_told(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    [side] = client.service.variants.all
    manifest = {**side.now.manifest, "provenance": {"metrics": [{"name": "ours", "figures": {"rmse": 1.0}}]}}
    monkeypatch.setattr(side, "now", replace(side.now, manifest=manifest))
    answer = client.get("/v1/evaluation")
    assert answer.status_code == 404 and "$.entries[0].figures" in answer.json()["hint"]


def test_how_it_was_judged(bundle: Path, recommender: sl.Recommender, client: Any) -> None:
    nothing = client.get("/v1/evaluation")
    assert nothing.status_code == 404 and "train --from does not" in nothing.json()["hint"]
    figure, told = {"value": 0.1, "low": None, "high": None}, Figure(value=0.1, low=None, high=None)
    entry = {"name": "ours", "role": "model", "figures": {"rmse": figure}}
    report = {
        "entries": [{"name": "ours", "settings": "x=1", "seconds": 2.0, "curve": {"10": 0.5}}],
        "verdicts": [{"sentence": "it wins", "verdict": "wins"}],
        "slices": [{"name": "head", "num_rows": 3, "num_users": 2, "figures": {"ours": {"rmse": figure}}}],
        "history": {"loss": [2.0, 1.0]},
    }
    old = {"slices": [{"name": "head", "rows": 3, "figures": {"rmse": figure}}], "verdicts": ["it wins"]}
    for judged, verdict in ((old | {"report": report}, "wins"), (old, UNSET)):
        manifest = {"provenance": {"metrics": [entry], "evaluation": judged}}
        found = evaluation(Loaded("a", "v", recommender, None, manifest))
        assert found is not None and found.entries[0].figures == {"rmse": told}
        assert found.verdicts[0].sentence == "it wins" and found.verdicts[0].verdict == verdict
        assert found.slices[0].figures == {"ours": {"rmse": told}}
        assert found.history == ({"loss": [2.0, 1.0]} if verdict is not UNSET else {})
