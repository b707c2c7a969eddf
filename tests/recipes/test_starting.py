"""Recipes proposed for tables of every kind: what is in them, that they read back and can be edited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist.api.preparing import prepare
from shortlist.api.sources import read_data, split_data
from shortlist.errors import DataError
from shortlist.index.build import EXACT_ITEMS
from shortlist.recipes.run import find_recipe, resolve
from shortlist.recipes.starting import Given, Start, separator, start
from shortlist.recipes.written import written
from shortlist.specs.features import Category, Tags, Text
from shortlist.specs.models import MultiTask, Ranker, TwoTower
from shortlist.specs.recipe import Auto, Outline, Recipe

NUM_USERS, NUM_ITEMS, ROWS = 25, 30, 400
RNG = np.random.default_rng(0)
WHO = [f"u{n}" for n in RNG.integers(0, NUM_USERS, ROWS)]
WHAT = [f"i{n}" for n in RNG.integers(0, NUM_ITEMS, ROWS)]
WHEN = RNG.integers(1_600_000_000, 1_610_000_000, ROWS)
STARS = RNG.integers(1, 6, ROWS)
KINDS = RNG.choice(["view", "cart", "purchase", "refund", "wave"], ROWS)
PAIR: dict[str, Any] = {"customer": WHO, "sku": WHAT}
ITEMS = {
    "id": [f"i{n}" for n in range(NUM_ITEMS)],
    "genres": ["|".join(["a", "b", "c"][n % 3 :]) for n in range(NUM_ITEMS)],
    "maker": ["me", "you"] * (NUM_ITEMS // 2),
}
HUGE = {"id": ITEMS["id"], "text": ["many words of it " * (200 + n) + str(n) for n in range(NUM_ITEMS)]}
TABLES: dict[str, dict[str, Any]] = {
    "implicit": PAIR | {"ts": WHEN},
    "ratings only": PAIR | {"stars": STARS},
    "both": PAIR | {"stars": STARS, "ts": WHEN, "device": ["tv", "phone"] * (ROWS // 2)},
    "many event types": PAIR | {"ts": WHEN * 1000, "action": KINDS},
    "no timestamps": PAIR,
    "newcomers": {"user": [f"u{n // 4}" for n in range(ROWS)], "item": WHAT, "ts": np.sort(WHEN)},
}

Propose = Callable[..., tuple[Start, Recipe]]


@pytest.fixture
def propose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Propose:
    """The proposal for tables, and the recipe that was written of it, read from another folder."""

    def proposed(events: dict[str, Any], items: Any = None, **given: Any) -> tuple[Start, Recipe]:
        folder = tmp_path / "shop"
        folder.mkdir()
        pl.DataFrame(events).write_csv(folder / "events.csv")
        if items is not None:
            pl.DataFrame(items).write_csv(folder / "items.csv")
        monkeypatch.chdir(folder)
        names = {"named": {}} | given
        found = start(Path("events.csv"), None, Path("items.csv") if items else None, Given(**names))
        Path("recipe.toml").write_text(written(found, Path()))
        monkeypatch.chdir(tmp_path)
        return found, find_recipe("shop/recipe.toml")

    return proposed


def made_of(found: Start) -> dict[str, str]:
    return {line.column: line.what for line in found.lines}


@pytest.mark.parametrize(
    ("kind", "model", "rule"),
    [
        ("implicit", TwoTower, "time=80%"),
        ("ratings only", MultiTask, "random=80%"),
        ("both", MultiTask, "time=80%"),
        ("many event types", TwoTower, "time=80%"),
        ("no timestamps", TwoTower, "random=80%"),
        ("newcomers", TwoTower, "hold_last=1"),
    ],
)
def test_every_kind_of_table_gets_a_recipe_that_reads_back(
    propose: Propose, kind: str, model: type, rule: str
) -> None:
    found, recipe = propose(TABLES[kind])
    assert type(recipe.model) is model and recipe.split.rule == rule
    assert recipe.data.interactions == str(Path("shop") / "events.csv")
    assert recipe.model == found.recipe.model and recipe.training == found.recipe.training
    split = split_data(recipe, read_data(recipe))
    assert split.train.height and split.validation.height and split.test.height
    assert all(line.why for line in found.lines) and found.split_reason


def test_types_of_events_are_weighed_as_the_recipe_says(propose: Propose) -> None:
    found, recipe = propose(TABLES["many event types"])
    weights = {"view": 1.0, "cart": 3.0, "purchase": 5.0, "refund": 0.0, "wave": 1.0}
    assert recipe.data.event_weights == weights and recipe.data.time_unit == "ms"
    rows = read_data(recipe).interactions
    assert rows["weight"].to_list() == [weights[kind] for kind in KINDS if kind != "refund"]
    path = Path("shop/recipe.toml")
    path.write_text(path.read_text().replace("purchase = 5.0", "purchase = 9"))
    assert read_data(find_recipe(path)).interactions["weight"].max() == 9
    assert made_of(found)["action"] == "event"


def test_features_come_with_reasons_and_lists_are_found(propose: Propose) -> None:
    found, recipe = propose(TABLES["both"], ITEMS)
    assert recipe.data.lists == {"genres": "|"} and recipe.data.item_key == "id"
    kinds = {type(feature): feature.column for feature in recipe.model.candidate.features}
    assert kinds[Tags] == "genres" and kinds[Category] == "maker"
    assert read_data(recipe).items["genres"].to_list()[:2] == [["a", "b", "c"], ["b", "c"]]
    text = Path("shop/recipe.toml").read_text()
    assert "# genres: texts divided at '|': lists of 3 distinct values\n    { kind = \"tags\"" in text
    assert made_of(found)["device"] == "Category"
    assert 'user = "customer"  # named like a user; 25 distinct values in 400 rows' in text


def test_what_may_be_ratings_is_named_where_nothing_was_taken_for_them(propose: Propose) -> None:
    found, _ = propose(PAIR | {"STARS GIVEN": STARS / 2, "price": WHEN / 7e6})
    assert found.reasons[0] == (
        "goal: retrieval: no column was taken for ratings (--rating 'STARS GIVEN', if these are ratings)"
    )


def test_huge_texts_are_read_up_to_a_bound(propose: Propose) -> None:
    _, recipe = propose(TABLES["implicit"], HUGE)
    (text,) = (f for f in recipe.model.candidate.features if isinstance(f, Text))
    assert text.length <= 32


def test_what_was_said_is_in_the_recipe(propose: Propose) -> None:
    named = {"user": "customer", "rating": "stars", "timestamp": "", "event": None}
    found, recipe = propose(TABLES["both"], named=named, goal="rating", rule="random=70%")
    assert isinstance(recipe.model, Ranker)
    assert (recipe.split.rule, recipe.data.timestamp) == ("random=70%", "")
    assert "timestamp" not in read_data(recipe).interactions.columns
    assert found.reasons[0] == "goal: rating, as you said"


def test_hostile_names_and_values_stay_valid(propose: Propose) -> None:
    events = {'the "user" #1': WHO, "sku": WHAT, "what\nhappened": ["a\\b", 'c "d"'] * (ROWS // 2)}
    named = {"user": 'the "user" #1', "event": "what\nhappened"}
    _, recipe = propose(events, named=named)
    assert recipe.data.user == 'the "user" #1'
    assert recipe.data.event_weights == {"a\\b": 1.0, 'c "d"': 1.0}


def test_files_elsewhere_are_named_by_their_whole_path(
    propose: Propose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, _ = propose(TABLES["no timestamps"])
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path / "shop")
    whole = (tmp_path / "shop" / "events.csv").as_posix()
    assert f'interactions = "{whole}"' in written(found, tmp_path / "recipes")
    assert 'interactions = "../events.csv"' in written(found, tmp_path / "shop" / "deep")


def test_too_few_rows_are_refused(propose: Propose) -> None:
    with pytest.raises(DataError, match="1 rows are too few"):
        propose({"user_id": ["a"], "item_id": ["b"]})


@pytest.mark.parametrize(
    ("texts", "sign"),
    [
        (["a|b", "b|c", "c|a", "a|b|c"] * 3, "|"),
        (["a, b", "b, c", "c, a"] * 4, ","),
        (["Smith, John", "Poe, Edgar"], ""),
        (["a long sentence, with a comma", "another of these, which is long"] * 5, ""),
        (["a", "b"], ""),
        ([None, None], ""),
    ],
)
def test_separators(texts: list[str | None], sign: str) -> None:
    assert separator(pl.Series("x", texts, dtype=pl.String)) == sign


@pytest.mark.parametrize(
    ("side", "name", "refused"),
    [("events", "past_count", True), ("items", "history_rating", True), ("events", "history_rating", False)],
)
def test_what_is_proposed_can_be_trained_or_is_refused_at_once(
    propose: Propose, side: str, name: str, refused: bool
) -> None:
    events, items = TABLES["both"], ITEMS
    if side == "events":
        events = events | {name: [f"kind {n % 4}" for n in range(ROWS)]}
    else:
        items = items | {name: [f"kind {n % 4}" for n in range(NUM_ITEMS)]}
    if refused:
        with pytest.raises(DataError, match=f"have a column '{name}'") as caught:
            propose(events, items)
        assert "own_" + name in caught.value.hint
        return
    found, recipe = propose(events, items)
    assert made_of(found)[name] == "left out"
    prepare(found.recipe.model, split_data(recipe, read_data(recipe)))


def test_columns_without_a_name_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    frame = pl.DataFrame(TABLES["ratings only"] | {"x": ["a|b", "b|c"] * (ROWS // 2), "y": STARS})
    path.write_text("customer,sku,stars,,\n" + frame.write_csv(include_header=False))
    found = start(path, None, None, Given({}))
    assert [line.what for line in found.lines if line.column in ("", "_duplicated_0")] == ["left out"] * 2
    assert "" not in found.recipe.data.lists


def test_what_was_perhaps_not_meant_so_is_told(propose: Propose) -> None:
    kinds = RNG.choice(["angesehen", "gekauft", "retourniert"], ROWS)
    items = ITEMS | {"preis": [f"{n},{n % 10}0" for n in range(NUM_ITEMS)]}
    found, recipe = propose(PAIR | {"ts": WHEN, "action": kinds}, items)
    assert set(recipe.data.event_weights.values()) == {1.0}
    assert any("no type of event in 'action' is known by name" in note for note in found.notes)
    assert any("'preis' holds numbers with decimal commas" in note for note in found.notes)


def test_known_types_and_points_raise_no_doubt(propose: Propose) -> None:
    items = ITEMS | {"price": [n / 10 for n in range(NUM_ITEMS)]}
    found, _ = propose(PAIR | {"ts": WHEN, "action": KINDS}, items)
    assert not any("known by name" in note or "decimal" in note for note in found.notes)


def test_a_large_catalogue_is_proposed_what_a_run_would_infer(propose: Propose) -> None:
    """Most items are in no training row; both ways count them, and suit the model to its index."""
    many = {"id": [f"i{n}" for n in range(EXACT_ITEMS + 1)]}
    found, recipe = propose(TABLES["implicit"], many)
    task = recipe.model.retrieval
    assert task is not None and (task.loss, task.normalize, task.item_bias) == ("in_batch", True, False)
    assert any("searched approximately" in reason for reason in found.reasons)
    same = Outline(data=recipe.data, model=Auto(goal="retrieval"), split=recipe.split)
    assert resolve(same).recipe.model == recipe.model
