from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jax
import pytest

from shortlist.api.preparing import prepare
from shortlist.api.sources import read_data, split_data
from shortlist.errors import NotEnoughMemory
from shortlist.evaluation.costs import baseline_bytes, followed
from shortlist.models.build import build
from shortlist.recipes import estimating
from shortlist.recipes import memory as memory_module
from shortlist.recipes.estimating import estimate
from shortlist.recipes.memory import memory_of
from shortlist.recipes.run import run
from shortlist.specs.recipe import Recipe
from shortlist.tasks.multitask import Corpus
from shortlist.training.cost import table_shapes, training_cost
from shortlist.training.feeding import Feed
from shortlist.training.loop import audience_of
from shortlist.training.steps import first_carry, plan_of

Make = Callable[..., Recipe]


@pytest.fixture
def prepared(make: Make) -> Callable[..., Any]:
    """A recipe with changes, its split, and the split prepared."""

    def found(**changes: Any) -> Any:
        recipe = make(**changes)
        split = split_data(recipe, read_data(recipe))
        return recipe, split, prepare(recipe.model, split)

    return found


@pytest.mark.parametrize("optimizer", ["adam", "adagrad"])
@pytest.mark.parametrize("tables", ["dense", "sparse"])
def test_tables_and_states_are_the_bytes_that_training_starts_with(
    prepared: Callable[..., Any], optimizer: str, tables: str
) -> None:
    rule = {"kind": optimizer, "learning_rate": 0.1}
    recipe, _, rows = prepared(training={"optimizer": rule, "tables": tables, "batch_size": 16})
    cost = training_cost(recipe.model, rows.encoder.sizes, rows.examples, rows.catalogue, recipe.training)
    net, arrays = build(recipe.model, rows.encoder.sizes, means={}, seed=0)
    assert table_shapes(recipe.model, rows.encoder.sizes) == {k: v.shape for k, v in arrays.items()}
    corpus = Corpus(rows.catalogue.items, rows.catalogue.log_q, None, audience_of(net, rows.examples, 16))
    plan = plan_of(
        (net, arrays), Feed.of(rows.examples, recipe.training).forms[0].data, corpus, recipe.training, 16
    )
    carry = first_carry((net, arrays), plan)
    learned = [x for x in jax.tree.leaves(carry) if hasattr(x, "nbytes") and x.ndim]
    predicted = [p for p in cost.parts if p.what.startswith(("table", "layers"))]
    assert sum(p.nbytes for p in predicted) == pytest.approx(sum(x.nbytes for x in learned), abs=64)
    assert bool(carry.scratch) == (tables == "sparse")
    assert predicted[0].how.startswith(f"{next(iter(arrays.values())).shape[0]} rows x 5 numbers x 4 bytes")


def test_rows_on_the_device_are_those_of_the_examples(prepared: Callable[..., Any]) -> None:
    recipe, _, rows = prepared()
    cost = training_cost(recipe.model, rows.encoder.sizes, rows.examples, rows.catalogue, recipe.training)
    (part,) = [p for p in cost.parts if p.what == "rows on the device"]
    least = rows.examples.nbytes + 12 * len(rows.examples)
    query = sum(column.nbytes for column in rows.examples.query.values())
    assert least - query <= part.nbytes <= least


def test_a_run_that_cannot_fit_is_refused_with_the_arithmetic(
    make: Make, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "available_memory", lambda: (3 * 2**20, "the container's limit"))
    with pytest.raises(NotEnoughMemory, match="the container's limit") as caught:
        run(make(), tmp_path / "run")
    text = str(caught.value)
    assert "MiB" in text and "compiled programs 320 MiB" in text
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_the_largest_part_is_named_and_the_hint_follows_it(
    prepared: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, split, rows = prepared(evaluation={"baselines": False, "k": [5]})
    users = next(name for name in rows.encoder.sizes if name.startswith("query/"))
    large = rows.encoder.sizes | {users: 10**9}
    monkeypatch.setattr(type(rows.encoder), "sizes", large)
    found = memory_of(recipe, split, rows)
    assert not found.fits
    said = r"1,000,000,000 rows x 5 numbers x 4 bytes"
    with pytest.raises(NotEnoughMemory, match=said) as caught:
        found.require()
    assert "smaller dim" in caught.value.hint


def test_baselines_take_the_squares_they_are_known_for() -> None:
    few, many = (baseline_bytes(10**6, 10**4, items, 1e8, rated=False)["EASE"] for items in (1000, 2000))
    assert many - few == pytest.approx(28 * (2000**2 - 1000**2), rel=0.4)
    assert "EASE" not in baseline_bytes(10**6, 10**4, 20_001, 1e8, rated=False)


def test_seconds_follow_the_line_through_two_sizes() -> None:
    assert followed((10, 20), (3.0, 5.0), 100) == pytest.approx(1.0 + 0.2 * 100)
    assert followed((10, 20), (5.0, 5.0), 100) == 5.0
    assert followed((10, 20), (3.0, 6.0), 5) == pytest.approx(1.5)


def test_an_estimate_names_every_stage(make: Make) -> None:
    found = estimate(make())
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["fits"] and plain["seconds"] > 0
    assert plain["memory_bytes"] == sum(part["bytes"] for part in plain["memory"])
    assert plain["memory_bytes"] == max(plain["stages"].values())
    assert plain["seconds"] == pytest.approx(sum(part["seconds"] for part in plain["time"]), abs=0.1)
    whats = [part["what"] for part in plain["time"]]
    assert {"data", "training: compiling", "training: steps", "evaluation: model", "export"} <= set(whats)


def test_a_recipe_that_only_retrieves_is_weighed_against_nothing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` chooses no weight for it, and an exact index asked with one is refused when it is saved."""
    given: list[float] = []
    recipe = make(model={"tasks": [{"kind": "retrieval"}]}, serving={"rating_weight": None})

    class Asked(Exception):
        pass

    def made(self: Any, rating_weight: float, num_retrieved: int) -> None:
        given.append(rating_weight)
        raise Asked

    monkeypatch.setattr(estimating.Fitted, "recommender", made)
    split = split_data(recipe, read_data(recipe))
    prepared = prepare(recipe.model, split)
    trial = estimating._Trial(0.0, 0.0, 0, ({}, {}))
    with pytest.raises(Asked):
        estimating._evaluation(recipe, split, prepared, trial, estimating._silent)
    assert given == [0.0]
