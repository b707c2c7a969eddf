from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
IGNORED = ("--ignore", "ancient-times,time-unit")  # the table's times count seconds from 1970


def test_a_good_table_ends_in_0_and_strict_counts_warnings(cli: Cli, tables: Path) -> None:
    words = ("data", "validate", tables / "events.csv", "--items", tables / "items.csv")
    said = cli(*words, *IGNORED)
    assert (said.code, said.err) == (0, "")
    assert "events.csv, 360 rows: 0 errors, 0 warnings" in said.out
    assert cli(*words, *IGNORED, "--strict").code == 0
    assert cli(*words, "--strict").code == 3


def test_errors_end_in_3_with_everything_on_stdout(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("user_id,item_id,timestamp\n,x,1600000000\nb,y,soon\nB ,y,1600000000\n")
    said = cli("data", "validate", tmp_path / "bad.csv", "--json")
    assert (said.code, said.err) == (3, "")
    found = {finding["name"]: finding for finding in said.json["findings"]}
    assert {"missing-ids", "unreadable-times", "similar-ids"} <= found.keys()
    assert found["unreadable-times"]["examples"] == [{"text": "timestamp='soon'", "row": 1, "part": ""}]
    assert said.json["ok"] is False and said.json["counts"]["error"] == 2
    text = cli("data", "validate", tmp_path / "bad.csv").out
    assert "row 1: timestamp='soon'" in text and "hint: " in text


def test_names_columns_rules_scales_and_limits_are_taken(cli: Cli, tables: Path, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(
        "who,what,stars\n" + "".join(f"{n},{n % 7},{n % 5}\n" for n in range(60))
    )
    shop = (
        "data",
        "validate",
        tmp_path / "shop.csv",
        "--columns",
        "user=who,item=what,rating=stars",
        "--json",
    )
    found = {f["name"]: f for f in cli(*shop, "--scale", "1,5", "--limits", "item_rows=9").json["findings"]}
    assert found["ratings-outside-scale"]["where"] == "interactions.stars"
    assert found["few-rows-per-item"]["count"] == 3
    assert "columns: user_id is 'who', item_id is 'what', rating is 'stars'\n" in cli(*shop[:-1]).out
    rule = cli("data", "validate", tables / "events.csv", "--rule", "random=80%", "--json").json
    assert {"split-test-before-train"} <= {finding["name"] for finding in rule["findings"]}


def test_a_split_folder_is_checked(cli: Cli, tables: Path, tmp_path: Path) -> None:
    assert cli("data", "split", tables / "events.csv", "--rule", "time=80%", "-o", tmp_path / "s").code == 0
    said = cli("data", "validate", tmp_path / "s", "--json")
    assert said.code == 0 and said.json["rows"] == 360
    assert not [f for f in said.json["findings"] if f["name"] == "split-test-before-train"]
    assert "split-rows-in-both" in said.json["clean"]


def test_a_named_data_set_is_checked(cli: Cli) -> None:
    said = cli("data", "validate", "movielens-100k", "--json")
    assert said.code == 0
    found = {finding["where"]: finding for finding in said.json["findings"]}
    assert found["users.zip"]["name"] == "mixed-types" and found["users.zip"]["count"] == 18


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["missing.csv"], ["no such file"]),
        (["nothing"], ["'nothing'", "movielens-100k"]),
        (["{events}", "--columns", "rating=ratng"], ["'ratng'"]),
        (["{events}", "--rule", "sometimes"], ["'sometimes'", "random=80%"]),
        (["{events}", "--ignore", "duplicate-row"], ["'duplicate-row'", "did you mean 'duplicate-rows'"]),
        (["{events}", "--limits", "gini"], ["LIMIT=NUMBER"]),
        (["{events}", "--limits", "ginny=1"], ["'ginny'", "did you mean 'gini'"]),
        (["{events}", "--scale", "5"], ["LOW,HIGH"]),
    ],
)
def test_what_cannot_be_read_or_understood_ends_in_1(
    cli: Cli, refused: Callable[..., None], tables: Path, words: list[str], said: list[str]
) -> None:
    refused(cli("data", "validate", *[word.format(events=tables / "events.csv") for word in words]), *said)


def test_describe_writes_a_page_beside_what_it_says(cli: Cli, tables: Path, tmp_path: Path) -> None:
    page = tmp_path / "events.html"
    said = cli("data", "describe", tables / "events.csv", "--html", page, "--json")
    assert said.code == 0 and said.err == f"wrote {page}\n"
    assert said.json["picture"]["sessions"]["pause_minutes"] == 30
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [path.name for path in tmp_path.iterdir()] == ["events.html"]
    text = cli("data", "describe", tables / "events.csv").out
    assert "rows a user (users)" in text and "most frequent items" in text
