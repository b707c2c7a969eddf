"""Recipe files: what is wrong with one, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shortlist.errors import RecipeError, SpecError
from shortlist.specs.features import Id
from shortlist.specs.models import MultiTask, Tower, TwoTower
from shortlist.specs.recipe import Auto, DataSource, Outline, Recipe, SplitRule, read_outline, read_recipe
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.specs.training import Adagrad, Training

GOOD = """
name = "joint"
[data]
dataset = "movielens-100k"
[model]
kind = "multi-task"
[model.query]
features = [{ kind = "id", column = "user_id", dim = 16 }]
[model.candidate]
features = [{ kind = "id", column = "item_id", dim = 16 }]
[[model.tasks]]
kind = "retrieval"
[[model.tasks]]
kind = "rating"
weight = 2
[training]
epochs = 3
optimizer = { kind = "adagrad", learning_rate = 0.1 }
"""


def test_a_recipe_is_the_specs_it_names(tmp_path: Path) -> None:
    path = tmp_path / "joint.toml"
    path.write_text(GOOD)
    recipe = read_recipe(path)
    assert isinstance(recipe.model, MultiTask)
    assert recipe.model.query.features == (Id("user_id", 16),)
    assert recipe.model.tasks == (Retrieval(), Rating(weight=2.0))
    assert recipe.training.optimizer == Adagrad(0.1)
    assert recipe.training.epochs == 3
    assert recipe.split.rule == "random=80%"
    assert Recipe.from_toml(recipe.to_toml()) == recipe


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs = 3", "epoch = 3", "unknown field `epoch` - at `$.training`"),
        ('name = "joint"', 'nam = "joint"', "unknown field `nam`"),
        ("dim = 16", "dimm = 16", "unknown field `dimm` - at `$.model.query.features[0]`"),
        ("epochs = 3", 'epochs = "three"', "Expected `int`, got `str` - at `$.training.epochs`"),
        ("epochs = 3", "epochs = 0", "Training.epochs must be above 0, got 0 - at `$.training`"),
        ('kind = "multi-task"', 'kind = "multitask"', "'multitask' - at `$.model.kind`"),
        ('dataset = "movielens-100k"', "", "either dataset= or interactions= - at `$.data`"),
        (
            'dataset = "movielens-100k"',
            'dataset = "a"\ninteractions = "b.csv"',
            "either dataset= or interactions= - at `$.data`",
        ),
        ('[data]\ndataset = "movielens-100k"', "", "missing required field `data`"),
        ("epochs = 3", "epochs = ", "not valid TOML"),
    ],
)
def test_a_wrong_recipe_names_the_file_and_the_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "wrong.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)
    assert caught.value.hint


def test_a_misspelt_key_gets_the_nearest_one(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(GOOD.replace("dim = 16", "dimm = 16"))
    with pytest.raises(RecipeError) as caught:
        read_recipe(path)
    assert "did you mean 'dim'?" in caught.value.hint


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.toml: No such file"):
        read_recipe(tmp_path / "absent.toml")
    with pytest.raises(RecipeError, match="Is a directory"):
        read_recipe(tmp_path)
    path = tmp_path / "latin.toml"
    path.write_bytes('name = "é"'.encode("latin-1"))
    with pytest.raises(RecipeError, match=r"latin\.toml is not UTF-8 \(byte 8\)"):
        read_recipe(path)


OPEN = """
name = "mine"
[data]
interactions = "events.csv"
[model]
kind = "auto"
goal = "retrieval"
[training]
epochs = 3
"""


def test_a_recipe_may_leave_its_model_open(tmp_path: Path) -> None:
    path = tmp_path / "open.toml"
    path.write_text(OPEN)
    outline = read_outline(path)
    assert isinstance(outline, Outline)
    assert outline.model == Auto(goal="retrieval")
    assert Outline.from_toml(outline.to_toml()) == outline
    with pytest.raises(RecipeError, match="infers its model"):
        read_recipe(path)
    rules = [outline.rule(timed=timed).rule for timed in (True, False)]
    assert rules == ["hold_last=1", "random=80%"]
    model = TwoTower(Tower((Id("user_id", 4),)), Tower((Id("item_id", 4),)))
    recipe = outline.filled(model, Training(epochs=9, batch_size=64), SplitRule())
    assert (recipe.training.epochs, recipe.training.batch_size) == (3, 64)
    assert (recipe.model, recipe.name, recipe.data) == (model, "mine", outline.data)


def test_a_declared_recipe_is_read_as_one(tmp_path: Path) -> None:
    path = tmp_path / "joint.toml"
    path.write_text(GOOD)
    assert read_outline(path) == read_recipe(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('goal = "retrieval"', 'goal = "ranking"', "'ranking' - at `$.model.goal`"),
        ("epochs = 3", "epochs = 0", "Training.epochs must be above 0, got 0"),
        ("epochs = 3", "epoch = 3", "unknown field `epoch`"),
        ('kind = "auto"', 'kind = "auto"\nout = 3', "unknown field `out` - at `$.model`"),
    ],
)
def test_a_wrong_open_recipe_names_the_file_and_the_place(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(OPEN.replace(old, new))
    with pytest.raises(RecipeError) as caught:
        read_outline(path)
    assert str(path) in str(caught.value) and message in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"time_unit": "weeks"}, "data.time_unit is 'weeks'"),
        ({"event_weights": {"view": 1}}, "a column that data.event does not name"),
        ({"event": "what", "event_weights": {"view": -1}}, "'view' must count at least 0, got -1"),
        ({"lists": {"genres": ""}}, "no sign is given for 'genres'"),
    ],
)
def test_what_is_said_of_columns_must_make_sense(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        DataSource.from_dict({"interactions": "events.csv"} | keys)
    assert caught.value.hint or "view" in message


def test_what_is_said_of_columns_goes_through_a_file() -> None:
    source = DataSource(
        interactions="events.csv",
        event="what",
        event_weights={"add to cart": 3, "view": 0.5},
        time_unit="%d/%m/%Y",
        lists={"genres": "|"},
        timestamp="",
    )
    assert DataSource.from_toml(source.to_toml()) == source
    assert hash(DataSource.from_toml(source.to_toml())) == hash(source)


@pytest.mark.parametrize("name", ["../../evil", "a/b", "a\\b", ".", "..", "/abs", "a\nb", "\x1b[31mred"])
def test_a_name_is_no_path_nor_a_sign_to_the_terminal(name: str) -> None:
    recipe = Recipe.from_toml(GOOD)
    outline = Outline(model=Auto(), data=recipe.data)
    for spec in (recipe, outline):
        with pytest.raises(SpecError, match="a folder of runs/ is called so") as caught:
            type(spec).from_dict({**spec.to_dict(), "name": name})
        assert "--output" in caught.value.hint
        for fine in ("", "two words", "v1.2", "Läden"):
            assert type(spec).from_dict({**spec.to_dict(), "name": fine}).name == fine
