"""`shortlist train --from` and `shortlist compare`, end to end on tiny tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from shortlist import bundle

Cli = Callable[..., Any]
HELD = 3
HEADER = "user_id,item_id,rating,timestamp,device"
NEWS = [
    f"{user},{item},{1 + item % 5},{90_000 + 60 * item + user},phone"
    for user in (1, 2, 3)
    for item in (5, 6, 7, 8)
]
NEWS += ["newcomer,5,4,99000,phone", "newcomer,fresh,5,99060,tablet"]


@pytest.fixture(scope="module")
def news(tmp_path_factory: pytest.TempPathFactory, tables: Path) -> Path:
    folder = tmp_path_factory.mktemp("news")
    known = (tables / "events.csv").read_text().splitlines()[1]
    (folder / "news.csv").write_text("\n".join([HEADER, *NEWS, f"{known},phone"]) + "\n")
    (folder / "items.csv").write_text("item_id,title\nfresh,A Fresh Item\n")
    return folder


@pytest.fixture(scope="module")
def today(run: Path, news: Path, tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("today") / "today"
    words = ["train", "--from", run, news / "news.csv", "--items", news / "items.csv", "-o", folder]
    return folder, cli(*words, "--epochs", 1, "--hold-out", 0.2, "--json")


def test_a_run_goes_on_from_a_run(today: tuple[Path, Any], cli: Cli) -> None:
    folder, said = today
    assert said.code == 0, said.err
    assert any("new events after" in line for line in said.json["news"])
    assert said.json["comparison"]["b"] == "after"
    files = {path.name for path in folder.iterdir()}
    assert {"bundle", "recipe.toml", "metrics.jsonl", "news.txt", "comparison.json"} <= files
    assert "columns that training does not read: device" in (folder / "news.txt").read_text()
    found = cli("recommend", folder, "--user", "1", "-k", 41, "--json")
    assert found.code == 0, found.err
    assert "fresh" in {row["item_id"] for row in found.json}


def test_what_is_held_out_is_not_learned_from(today: tuple[Path, Any], run: Path) -> None:
    folder, said = today
    before, after = (pl.read_parquet(path / "bundle" / "train" / "rows.parquet") for path in (run, folder))
    times = set(after["timestamp"]) - set(before["timestamp"])
    assert len(times) == after.height - before.height == 14 - HELD
    assert max(times) == 90_000 + 60 * 8 + 2
    assert "newcomer" not in after["user_id"]
    compared = said.json["comparison"]
    assert compared["protocol"]["test rows"].startswith(f"{HELD} of 2 users")
    assert compared["protocol"]["before"].startswith("40 items")
    assert compared["protocol"]["after"].startswith("41 items")
    assert not any("after was trained on" in warning for warning in compared["warnings"])
    assert any(f"the latest {HELD} events were held out" in note for note in said.json["news"])
    assert f"the latest {HELD} events were held out" in (folder / "news.txt").read_text()


def test_how_tables_are_read_can_change(
    run: Path, news: Path, cli: Cli, refused: Any, tmp_path: Path
) -> None:
    (tmp_path / "ms.csv").write_text(
        "\n".join([HEADER, "1,5,4,99000000,phone", "newcomer,5,4,99060000,phone"]) + "\n"
    )
    words = ["train", "--from", run, tmp_path / "ms.csv", "--epochs", 0]
    said = cli(*words, "-o", tmp_path / "x", "--set", "data.time_unit=ms", "--json")
    assert said.code == 0, said.err
    kept = pl.read_parquet(tmp_path / "x" / "bundle" / "train" / "rows.parquet")
    assert kept["timestamp"].to_list()[-2:] == [99_000, 99_060]
    assert 'time_unit = "ms"' in (tmp_path / "x" / "recipe.toml").read_text()
    assert bundle.inspect(tmp_path / "x" / "bundle")["provenance"]["recipe"]["data"]["time_unit"] == "ms"
    for key in ("training.epochs=4", "data.interactions=x.csv"):
        refused(cli(*words, "-o", tmp_path / "y", "--set", key), "--set", "--from")


def test_a_run_in_its_own_place_is_a_run_still(run: Path, news: Path, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "runs" / "same")
    words = ["train", "--from", tmp_path / "runs" / "same", news / "news.csv", "--epochs", 0, "--force"]
    said = cli(*words, "-o", tmp_path / "runs" / "same")
    assert said.code == 0, said.err
    assert "shortlist recommend" in said.err and "compare" not in said.err
    listed = cli("runs", "list", tmp_path / "runs", "--json").json
    assert [(row["run"], row["problem"]) for row in listed] == [("same", "")]


def test_events_of_one_second_are_not_held_out(run: Path, cli: Cli, refused: Any, tmp_path: Path) -> None:
    (tmp_path / "now.csv").write_text("\n".join([HEADER, *(f"1,{n},4,99000,phone" for n in range(4))]))
    words = ["train", "--from", run, tmp_path / "now.csv", "-o", tmp_path / "x", "--hold-out", 0.2]
    refused(cli(*words), "of 4 new events the latest 20%", "all have the time 99000", "leave --hold-out")


def test_an_export_with_unrated_events_is_judged_on(run: Path, cli: Cli, tmp_path: Path) -> None:
    """As with --hold-out: rating errors are those of rated rows."""
    path = tmp_path / "export.csv"
    rows = [f"{n % 7},{n},{'' if n % 2 else 4.0},{99_000 + n},e{n}" for n in range(20)]
    path.write_text("\n".join(["user_id,item_id,rating,timestamp,event_id", *rows]))
    said = cli("compare", run, run, "--events", path, "--json")
    assert said.code == 0, said.err
    counted = {row["figure"]: row["rows"] for row in said.json["figures"] if "rows" in row}
    assert any(row["figure"].startswith("rmse") for row in said.json["figures"]), counted


def test_two_bundles_side_by_side(
    run: Path, today: tuple[Path, Any], news: Path, cli: Cli, tmp_path: Path
) -> None:
    said = cli("compare", run, today[0], "--events", news / "news.csv", "--html", tmp_path / "page.html")
    assert said.code == 0, said.err
    assert "today was trained on" in said.out
    assert "too few users for a verdict" in said.out
    assert (tmp_path / "page.html").read_text().startswith("<!DOCTYPE html>")
    same = cli("compare", run, run, "--json").json
    assert same["figures"] and all(row["difference"]["value"] == 0 for row in same["figures"])


def test_a_bundle_for_serving_starts_nothing(
    run: Path, news: Path, cli: Cli, refused: Any, tmp_path: Path
) -> None:
    assert cli("export", run, "-o", tmp_path / "out", "--serving").code == 0
    assert not (tmp_path / "out" / "train").exists()
    refused(cli("train", "--from", tmp_path / "out", news / "news.csv", "-o", tmp_path / "x"), "--serving")
    assert not (tmp_path / "x").exists()


def test_what_makes_no_sense_together_is_refused(
    run: Path, news: Path, cli: Cli, refused: Any, tmp_path: Path
) -> None:
    refused(cli("train", "--from", run, news / "news.csv"), "needs a folder")
    refused(
        cli("train", "--from", run, news / "news.csv", "-o", tmp_path / "x", "--show"), "--show", "--from"
    )
    refused(cli("compare", run, run, "--recipe", "ml100k-ids", "--events", news / "news.csv"), "--events")
