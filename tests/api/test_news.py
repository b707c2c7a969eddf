"""Tables of new events: named as the recipe's own or as a server's export, rated or not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from msgspec.structs import replace

from shortlist.api.news import named_as, news_of, rated_as_needed
from shortlist.api.sources import read_data, require_columns
from shortlist.errors import DataError
from shortlist.specs.features import Category, Id
from shortlist.specs.models import Ranker, Tower, TwoTower
from shortlist.specs.recipe import DataSource, Recipe
from shortlist.specs.tasks import Rating

NOON = 1_767_268_800
OWN = DataSource(
    interactions="shop.csv",
    user="who",
    item="sku",
    rating="stars",
    timestamp="when",
    time_unit="%d/%m/%Y",
    event="what",
    event_weights={"buy": 2.0, "view": 0.0},
)
TOWERS = Tower([Id("user_id", 2)]), Tower([Id("item_id", 2)])
RANKER = Ranker(*TOWERS, tasks=(Rating(hidden=(2,)),))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """As `shortlist events export` writes it."""
    path = tmp_path / "new.csv"
    path.write_text(
        "user_id,item_id,event,rating,timestamp,event_id\n"
        f"007,i1,buy,4.0,{NOON},e1\n8,i2,buy,,{NOON + 60},e2\n8,i3,view,,{NOON + 120},e3\n"
    )
    return path


def test_an_export_is_read_whatever_the_recipes_names_are(export: Path) -> None:
    wanted = {
        "user_id": ["007", "8"],
        "item_id": ["i1", "i2"],
        "rating": [4.0, None],
        "timestamp": [NOON, NOON + 60],
        "weight": [2.0, 2.0],
    }
    for own in (OWN, replace(OWN, user="user_id", timestamp="timestamp", time_unit="ms")):
        found = named_as(own, export).interactions
        assert found.select(list(wanted)).to_dict(as_series=False) == wanted


def test_a_recipes_own_names_and_unit_come_first(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("who,sku,when,stars,what\na,x,02/01/2026,3,buy\n")
    assert named_as(OWN, path).interactions["timestamp"].to_list() == [NOON + 43_200]
    path.write_text("user_id,item_id,rating,timestamp\na,x,3,1767268800000\n")
    plain = DataSource(interactions="shop.csv", time_unit="ms")
    assert named_as(plain, path).interactions["timestamp"].to_list() == [NOON]


def test_tables_of_users_and_items_stay_called_as_they_were(export: Path, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("sku,kind\ni1,a\ni2,b\n")
    assert named_as(OWN, export, tmp_path / "items.csv").items["kind"].to_list() == ["a", "b"]


def test_what_an_export_leaves_out_is_no_column_that_is_missing(export: Path) -> None:
    """No event has a rating, or a weight."""
    pl.read_csv(export, schema_overrides={"user_id": pl.String}).drop("rating").write_csv(export)
    own = replace(OWN, weight="amount", event="", event_weights={})
    found = named_as(own, export).interactions
    assert found["rating"].null_count() == 3 and found["weight"].to_list() == [1.0] * 3
    with pytest.raises(DataError, match=r"new\.csv: no event has a rating"):
        rated_as_needed(RANKER, OWN, export, None, None)


@pytest.mark.parametrize("trained_with", ["weight", "rating"])
def test_an_export_without_weights_counts_each_event_once(export: Path, trained_with: str) -> None:
    """Whether the rows trained on had a column of that very name or none."""
    plain = pl.read_csv(export, schema_overrides={"user_id": pl.String}).drop("event", "rating")
    plain.write_csv(export)
    data = named_as(DataSource(interactions="shop.csv"), export)
    ids = pl.DataFrame({"user_id": ["9"], "item_id": ["i1"]})
    rows = ids.with_columns(pl.lit(2.0).alias(trained_with), timestamp=pl.lit(NOON))
    model: Any = TwoTower(*TOWERS)
    start: Any = SimpleNamespace(model=model, rows=rows, users=ids[["user_id"]], items=ids[["item_id"]])
    found = news_of(start, data, None, None)
    assert found.num_new == 3
    if trained_with == "weight":
        assert found.split.train["weight"].to_list() == [2.0, 1.0, 1.0, 1.0]
    assert not any("weight" in note for note in found.notes)


def test_a_table_of_other_names_is_told_with_its_file_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("person,sku,stars,when,what\na,x,,02/01/2026,buy\n")
    with pytest.raises(DataError, match=r"other\.csv has no column 'who'") as caught:
        named_as(OWN, path)
    assert caught.value.hint == "known: person, sku, stars, when, what"
    path.write_text("who,sku,stars,when,what\na,x,nan,02/01/2026,buy\n")
    with pytest.raises(DataError, match=r"other\.csv: column 'stars', row 0"):
        named_as(OWN, path)


def test_a_column_of_context_that_lacks_is_told_with_its_file(export: Path) -> None:
    data = named_as(DataSource(interactions="shop.csv"), export)
    ids = pl.DataFrame({"user_id": ["9"], "item_id": ["i1"]})
    rows = ids.with_columns(rating=pl.lit(2.0), timestamp=pl.lit(NOON), place=pl.lit("shop"))
    towers = Tower([Id("user_id", 2), Category("place", 2)]), TOWERS[1]
    model: Any = TwoTower(*towers)
    start: Any = SimpleNamespace(model=model, rows=rows, users=ids[["user_id"]], items=ids[["item_id"]])
    with pytest.raises(DataError, match=r"new\.csv has no column 'place', which training reads"):
        news_of(start, data, None, None)
    with pytest.raises(DataError, match=r"the new events have no column 'place'"):
        news_of(start, data.interactions, None, None)
    wrong = export.with_name("wrong.csv")
    pl.read_csv(export).with_columns(place=pl.lit(7)).write_csv(wrong)
    with pytest.raises(DataError, match=r"column 'place' of .*wrong\.csv holds int, training had string"):
        news_of(start, named_as(DataSource(interactions="shop.csv"), wrong), None, None)
    recipe = Recipe(data=DataSource(interactions=str(export), rating=""), model=model)
    with pytest.raises(DataError, match=r"Category\('place'\) names a column that .*new\.csv does not have"):
        require_columns(recipe, read_data(recipe))


def test_what_is_left_out_is_counted(export: Path) -> None:
    _, notes = rated_as_needed(TwoTower(*TOWERS), OWN, export, None, None)
    assert notes == ("1 event of types that weigh 0 (view) was left out",)
    _, notes = rated_as_needed(RANKER, OWN, export, None, None)
    assert notes == ("2 events without a rating were left out: this model learns ratings alone",)
