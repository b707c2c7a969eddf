"""`shortlist items add`, and histories told to `shortlist recommend`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shortlist import bundle
from shortlist.cli.answers import typed
from shortlist.pipeline.recommender import Recommender

Cli = Callable[..., Any]


@pytest.fixture
def arrivals(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    path.write_text("item_id,title\n007,Bond\n90,\n")
    return path


def test_new_items_are_in_the_bundle_that_is_written(cli: Cli, run: Path, arrivals: Path) -> None:
    output = arrivals.parent / "grown"
    said = cli("items", "add", run, arrivals, "-o", output)
    assert (said.code, said.out) == (0, f"{output}\n")
    assert "2 items added, 42 in all" in said.err
    expected = bundle.load(run / "bundle").add_items(str(arrivals))
    ask = {"user_id": "4"}
    told = cli("recommend", output, "--user", 4, "--only", "007,90,3", "--keep-seen", "--json").json
    assert {row["item_id"]: row["title"] for row in told} == {"007": "Bond", "90": "", "3": "The Item 3"}
    slate = expected.recommend(ask, only=["007", "90", "3"], filter_seen=False)
    assert [row["item_id"] for row in told] == slate["item_id"].tolist()
    assert cli("inspect", output, "--json").json["provenance"]["items_added"] == 2
    assert cli("similar", output, "--item", "007", "-k", 2).code == 0


def test_known_items_are_updated_when_asked_to(cli: Cli, run: Path, tmp_path: Path) -> None:
    table, output = tmp_path / "items.tsv", tmp_path / "out"
    table.write_text("sku\ttitle\n3\tAnother name\nn\tNew\n")
    words = ("items", "add", run, table, "--item", "sku", "-o", output, "--json")
    said = cli(*words, "--replace")
    assert said.json == {"bundle": str(output), "items": 41, "added": 1, "updated": 1}
    assert "1 items added, 1 updated, 41 in all" in cli(*words[:-1], "--replace", "--force").err
    title = bundle.load(output).items.columns["title"]
    assert (title[3], title[40], title[4]) == ("Another name", "New", "The Item 4")


def test_what_cannot_be_added_leaves_nothing(
    cli: Cli, refused: Callable[..., None], run: Path, arrivals: Path
) -> None:
    output = arrivals.parent / "out"
    arrivals.write_text("item_id,title\n3,Again\n")
    refused(cli("items", "add", run, arrivals, "-o", output), "item '3' is in the catalogue already")
    arrivals.write_text("item_id,colour\nn,red\n")
    refused(cli("items", "add", run, arrivals, "-o", output), "'colour'")
    refused(cli("items", "add", run, arrivals.parent / "no.csv", "-o", output), "no such file")
    assert not output.exists()
    arrivals.write_text("item_id,title\nn,New\n")
    assert cli("items", "add", run, arrivals, "-o", output, "-q").err == ""
    refused(cli("items", "add", run, arrivals, "-o", output), "exists already", "--force")
    assert cli("items", "add", output, arrivals, "--replace", "-o", output, "--force").code == 0
    assert len(bundle.load(output).items) == 41


def test_a_history_is_told(cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def recommend(self: Recommender, queries: Any, *rest: Any, **options: Any) -> Any:
        asked["queries"] = queries
        raise RuntimeError

    monkeypatch.setattr(Recommender, "recommend", recommend)
    context = ("--context", "history_rating=5|3.5", "--context", "history_timestamp=1998-04-01|7")
    cli("recommend", run, "--user", "new", "--history", "3,4", *context)
    (query,) = asked["queries"]
    assert query["history"] == ["3", "4"]
    assert query["history_rating"] == [5.0, 3.5]
    assert [str(query["history_timestamp"][0]), query["history_timestamp"][1]] == ["1998-04-01 00:00:00", 7]


def test_lists_that_are_no_numbers_stay_text_to_be_refused_by_name(run: Path) -> None:
    row = typed(bundle.load(run / "bundle"), {"history_rating": "5|many"})
    assert row == {"history_rating": [5.0, "many"]}
