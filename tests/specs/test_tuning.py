from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import SpecError
from shortlist.specs.keys import changed, value_at
from shortlist.specs.recipe import Outline, Recipe
from shortlist.specs.tuning import Choices, Span, Tuning, declared

TOWER = {"features": [{"kind": "id", "column": "user_id"}]}
RANGE = {"low": 4, "high": 16}
RECIPE = """
[data]
interactions = "events.csv"
[model]
kind = "two-tower"
query = { features = [{ kind = "id", column = "user_id", dim = 8 }] }
candidate = { features = [{ kind = "id", column = "item_id", dim = 8 }] }
[tune]
trials = 7
"training.optimizer.learning_rate" = { low = 1e-3, high = 3e-2, log = true }
"model.query.hidden" = [[], [64, 32]]
"""


def test_ranges_are_the_keys_with_dots() -> None:
    recipe = Recipe.from_toml(RECIPE)
    found = declared(recipe.tune or {})
    assert found.tuning == Tuning(trials=7)
    assert found.ranges == {
        "training.optimizer.learning_rate": Span(low=1e-3, high=3e-2, log=True),
        "model.query.hidden": Choices(([], [64, 32])),
    }
    assert Recipe.from_toml(recipe.to_toml()) == recipe


def test_a_recipe_without_a_search_does_not_speak_of_one() -> None:
    assert "tune" not in Recipe.from_toml(RECIPE.partition("[tune]")[0]).to_dict()


@pytest.mark.parametrize(
    ("tune", "said"),
    [
        ({"training.epochs": {"low": 4, "high": 4}}, ['tune."training.epochs"', "must be below"]),
        ({"training.epochs": {"low": "a", "high": 4}}, ['tune."training.epochs"', "$.low"]),
        ({"training.epochs": {"low": True, "high": 4}}, ['tune."training.epochs"', "$.low"]),
        ({"training.epochs": {"low": 1, "high": float("nan")}}, ['tune."training.epochs"', "finite"]),
        ({"training.epochs": {"low": 4, "hihg": 9}}, ['tune."training.epochs"', "hihg", "'high'"]),
        ({"training.epochs": {"low": 0, "high": 9, "log": True}}, ["log = true needs low above 0"]),
        ({"training.epochs": {"low": 1, "high": 9, "log": True, "step": 2}}, ["exclude"]),
        ({"training.epochs": {"low": 1, "high": 9, "step": 9}}, ["within high - low"]),
        ({"training.epochs": 4}, ["neither a range nor a list of choices"]),
        ({"training.epochs": [4]}, ["at least two"]),
        ({"training.epochs": [4, 5, 4]}, ["twice"]),
        ({"split.seed": [1, 2]}, ['tune."split.seed"', "only keys of model and training"]),
        ({"training": {"epochs": RANGE}}, ["tune.training is a table", "quotes"]),
        ({"trails": 4}, ["tune.trails", "did you mean 'trials'"]),
        ({"trials": 0}, ["tune:", "trials", "above 0"]),
        ({"pruner": "hope"}, ["tune:", "$.pruner"]),
    ],
)
@pytest.mark.parametrize("of", ["recipe", "outline"])
def test_what_cannot_be_searched_is_refused_with_its_path(of: str, tune: Any, said: list[str]) -> None:
    whole: dict[str, Any] = {"data": {"interactions": "e.csv"}, "tune": tune}
    with pytest.raises(SpecError) as caught:
        if of == "outline":
            Outline.from_dict({**whole, "model": {"kind": "auto"}})
        else:
            Recipe.from_dict({**whole, "model": {"kind": "two-tower", "query": TOWER, "candidate": TOWER}})
    for words in said:
        assert words in f"{caught.value} | {caught.value.hint}"


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6), at=st.floats(0, 1), log=st.booleans())
def test_tidy_values_stay_in_their_range_and_close(low: float, width: float, at: float, log: bool) -> None:
    low = abs(low) + 1e-9 if log else low
    span = Span(low=low, high=low + width, log=log)
    drawn = min(low + at * width, span.high)
    tidy = span.tidy(drawn)
    assert span.holds(tidy) and abs(tidy - drawn) <= 1e-3 * abs(drawn) + 1e-12


@pytest.mark.parametrize(
    ("span", "inside", "outside"),
    [
        (Span(low=4, high=16), [4, 16, 9], [3, 17, True, "9", None]),
        (Span(low=0.0, high=1.0, step=0.1), [0.0, 0.3, 1.0, 1], [0.25, 1.1]),
        (Span(low=1, high=10, step=3), [1, 4, 10], [2, 11]),
    ],
)
def test_what_a_range_holds(span: Span, inside: list[Any], outside: list[Any]) -> None:
    assert all(span.holds(value) for value in inside)
    assert not any(span.holds(value) for value in outside)


def test_whole_ends_mean_whole_numbers() -> None:
    assert Span(low=4, high=16).whole and not Span(low=4.0, high=16).whole
    assert Span(low=4, high=16, step=2).whole and not Span(low=4, high=16, step=0.5).whole


def test_keys_read_what_they_change() -> None:
    recipe = Recipe.from_toml(RECIPE)
    for key, value in {"model.query.features.0.dim": 16, "training.optimizer.learning_rate": 0.5}.items():
        assert value_at(recipe, key) != value
        assert value_at(changed(recipe, {key: value}), key) == value
    assert value_at(recipe, "model.query.features.7.dim") is None
    assert value_at(recipe, "model.no.such") is None
