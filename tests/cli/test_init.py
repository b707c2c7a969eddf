"""`shortlist init`: what it prints, writes and refuses, and the way from a table to recommendations."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shortlist.recipes.run import find_recipe

Cli = Callable[..., Any]
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "own-data.md"
EVENTS = "who,sku,stars,when\n" + "".join(
    f"c{n % 9},s{(n * 7 + n % 2) % 11},{1 + (n * 5) % 7 % 5},{1_700_000_000_000 + 1000 * n}\n"
    for n in range(90)
)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.csv").write_text(EVENTS)
    return tmp_path


def test_the_guide_shows_what_is_printed_and_written(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = GUIDE.read_text(encoding="utf-8")
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], {})
    said = cli("init", "events.csv", "--items", "items.csv")
    printed, recipe = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    assert said.code == 0 and said.out.startswith(printed)
    assert Path("recipe.toml").read_text().startswith(recipe)
    assert said.err.endswith("  shortlist train recipe.toml\n  shortlist recommend runs/events --user c0\n")


def test_json_tells_the_same(cli: Cli, shop: Path) -> None:
    said = cli("init", "events.csv", "--user", "who", "-o", "deep/shop.toml", "--json", "--quiet")
    assert (said.code, said.err) == (0, "")
    roles = {line["column"]: line["is"] for line in said.json["columns"]}
    assert roles == {"who": "user", "sku": "item", "stars": "rating", "when": "timestamp"}
    assert said.json["recipe"]["data"]["time_unit"] == "ms"
    assert said.json["next"][0] == "shortlist train deep/shop.toml"
    assert find_recipe("deep/shop.toml").data.interactions == str(Path("deep") / ".." / "events.csv")


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        (
            EVENTS.replace("sku", "thing"),
            [],
            ["which other one is the user cannot be told", "'who'", "--user COLUMN"],
        ),
        (EVENTS, ["--user", "whom"], ["no column 'whom'", "did you mean 'who'"]),
        (EVENTS, ["--user", "who", "--goal", "rank"], ["--goal 'rank'", "known: two-stage"]),
        (EVENTS, ["--user", "who", "--rating", "none", "--goal", "rating"], ["no ratings to predict"]),
        (EVENTS, ["--user", "who", "--split", "half"], ["cannot read the split rule 'half'"]),
        (EVENTS, ["--user", "who", "--time-unit", "weeks"], ["time_unit", "'weeks'"]),
        (
            "user,item,stars\na,x,4\na,y,\nb,x,3\n",
            [],
            ["'stars', row 1", "--rating none", "drop_nulls('stars')", "data validate"],
        ),
        ("user,item\na,x\n,y\nb,x\n", [], ["column 'user', row 1: expected an id"]),
        (EVENTS, ["--user", "who", "--items", "gone.csv"], ["no such file: gone.csv"]),
        ("", [], ["events.csv is empty"]),
        ("a,b\n", [], ["at least one row"]),
        ("buyer,client,sku\nu,v,w\nx,y,z\n", [], ["'buyer'", "'client'", "could each be the user"]),
        ("user,item,date\n" + "u,i,2020-01-01\n" * 5 + "u,i,soon\n", [], ["row 5", "'soon'"]),
    ],
)
def test_wrong_input_is_refused_and_nothing_written(
    cli: Cli, refused: Callable[..., None], shop: Path, content: str, words: list[str], said: list[str]
) -> None:
    Path("events.csv").write_text(content)
    refused(cli("init", "events.csv", *words), *said)
    assert [path.name for path in shop.iterdir()] == ["events.csv"]


def test_a_folder_without_tables_and_a_recipe_that_is_there(
    cli: Cli, refused: Callable[..., None], shop: Path
) -> None:
    (shop / "empty").mkdir()
    refused(cli("init", "empty"), "holds no table", "0 files")
    (shop / "recipe.toml").write_text("mine")
    refused(cli("init", "events.csv", "--user", "who"), "recipe.toml exists already", "--force")
    assert (shop / "recipe.toml").read_text() == "mine"
    assert cli("init", "events.csv", "--user", "who", "--force").code == 0
    assert find_recipe("recipe.toml").data.user == "who"


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["who sku stars when", "who sku when", "who sku stars", "who sku"])
def test_from_a_table_to_recommendations(cli: Cli, shop: Path, columns: str) -> None:
    import polars as pl

    pl.read_csv("events.csv").select(columns.split()).write_csv("events.csv")
    assert cli("init", "events.csv", "--user", "who").code == 0
    quick = [
        "training.epochs=1",
        "training.members=1",
        "evaluation.baselines=false",
        "evaluation.resamples=20",
    ]
    sets = [word for one in quick for word in ("--set", one)]
    trained = cli("train", "recipe.toml", *sets)
    assert trained.code == 0, trained.err
    said = cli("recommend", "runs/events", "--user", "c1", "-k", 3, "--json")
    assert said.code == 0 and said.out.count("item_id") == 3


def test_a_recipe_of_another_name_has_a_run_of_its_own(cli: Cli, shop: Path) -> None:
    said = cli("init", "events.csv", "--user", "who", "-o", "winter sale.toml")
    assert said.code == 0 and "shortlist recommend runs/winter-sale --user" in said.err
    assert find_recipe("winter sale.toml").name == "winter-sale"
