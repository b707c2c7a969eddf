from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from shortlist.data.dataset import from_tables
from shortlist.data.splits import random

Cli = Callable[..., Any]


def test_describe_counts_a_file(cli: Cli, tables: Path) -> None:
    said = cli("data", "describe", tables / "events.csv", "--json")
    assert (said.code, said.err) == (0, "")
    assert (said.json["interactions"], said.json["users"], said.json["rows_per_user"]["max"]) == (
        360,
        30,
        12.0,
    )
    text = cli("data", "describe", tables / "events.csv").out
    assert "360" in text and "1970-01-01T00:01:00Z" in text


def test_describe_takes_columns_by_other_names(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("who,what,stars\n1,a,5\n2,b,4\n")
    columns = "user=who, item=what,rating=stars"
    said = cli("data", "describe", tmp_path / "shop.csv", "--columns", columns, "--json")
    assert (said.json["users"], said.json["rating"]["mean"]) == (2, 4.5)


@pytest.mark.parametrize("verb", ["describe", "validate"])
def test_columns_that_cannot_be_guessed_are_named_by_the_verbs_own_option(
    cli: Cli, refused: Callable[..., None], tmp_path: Path, verb: str
) -> None:
    (tmp_path / "a.csv").write_text(
        "a,b,am tag,sent\n" + "k,x,2020-01-01,2020-01-02\nl,y,2020-01-03,2020-01-04\n" * 9
    )
    words = ("data", verb, tmp_path / "a.csv")
    refused(cli(*words), "cannot be told", "--columns user=COLUMN,item=COLUMN", "am tag")
    if verb == "describe":
        named = "user=a,item=b"
        refused(cli(*words, "--columns", named), "'am tag'", "'sent'", "--columns 'timestamp=am tag'")
        said = cli(*words, "--columns", f"{named},timestamp=none", "--json")
        assert said.code == 0 and "time" not in said.json


def test_describe_takes_the_form_of_the_times(cli: Cli, refused: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user_id,item_id,date\n1,a,01/02/2020\n2,b,03/02/2020\n")
    words = ("data", "describe", tmp_path / "a.csv", "--json")
    refused(cli(*words), "--time-unit '%d/%m/%Y'")
    assert cli(*words, "--time-unit", "%d/%m/%Y").json["time"]["first"][:10] == "2020-02-01"


def test_fetch_and_describe_know_data_sets_by_name(cli: Cli) -> None:
    assert cli("data", "fetch", "movielens-100k", "--json").json["interactions"] == 100_000
    assert cli("data", "describe", "movielens-100k", "--json").json["items"] == 1_682


def test_split_writes_what_the_library_gives(cli: Cli, tables: Path, tmp_path: Path) -> None:
    rule = "random=80%,validation=10%"
    said = cli(
        "data", "split", tables / "events.csv", "--rule", rule, "--seed", 7, "-o", tmp_path / "s", "--json"
    )
    assert said.code == 0, said.err
    expected = random(from_tables(tables / "events.csv"), test=0.2, validation=0.1, seed=7)
    for part in ("train", "validation", "test"):
        assert pl.read_parquet(tmp_path / "s" / f"{part}.parquet").equals(getattr(expected, part))
    assert said.json["rows"] == {"train": 259, "validation": 29, "test": 72}
    assert "future" in said.json["leaks"]
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_split_replaces_only_when_told(
    cli: Cli, refused: Callable[..., None], tables: Path, tmp_path: Path
) -> None:
    split = ("data", "split", tables / "events.csv", "-o", tmp_path / "s", "--quiet")
    assert cli(*split).err == ""
    refused(cli(*split), "exists already", "--force")
    assert cli(*split, "--rule", "hold_last=1", "--force").code == 0
    assert pl.read_parquet(tmp_path / "s" / "test.parquet").height == 30


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.csv"], ["no such file"]),
        (["movielens-100l"], ["movielens-100k"]),
        (["nothing"], ["'nothing'", "movielens-100k"]),
        (["movielens-1m"], ["grouplens.org"]),
        (["{events}", "--columns", "rating=ratng"], ["'ratng'", "did you mean 'rating'"]),
        (["{events}", "--columns", "stars=rating"], ["--columns", "known: user"]),
        (["{events}", "--columns", "rating"], ["ROLE=COLUMN"]),
        (["{events}", "--rule", "randm=80%"], ["'randm=80%'", "random=80%"]),
        (["{events}", "--rule", "random=99.99%"], ["leaves no row for test"]),
    ],
)
def test_bad_input_is_refused_and_nothing_written(
    cli: Cli, refused: Callable[..., None], tables: Path, tmp_path: Path, words: list[str], said: list[str]
) -> None:
    full = [word.format(events=tables / "events.csv") for word in words]
    refused(cli("data", "split", *full, "-o", tmp_path / "out"), *said)
    assert list(tmp_path.iterdir()) == []
