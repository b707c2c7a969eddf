"""`shortlist index`: what searches a bundle's items, and the items that come and go."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shortlist import bundle
from shortlist.bundle.live import open_live
from shortlist.cli.index import _kept, about

Cli = Callable[..., Any]


@pytest.fixture
def used(run: Path, tmp_path: Path) -> Path:
    """A bundle in use, of the items 0 to 39."""
    return Path(shutil.copytree(run / "bundle", tmp_path / "used"))


@pytest.fixture
def new(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    path.write_text("item_id,title\n007,Bond\n8a,\n")
    return path


def offered(cli: Cli, path: Path) -> set[str]:
    said = cli("recommend", path, "--user", 4, "-k", 99, "--keep-seen", "--json")
    return {row["item_id"] for row in said.json}


def test_items_come_and_go_without_another_bundle(cli: Cli, used: Path, new: Path) -> None:
    said = cli("index", "add", used, "--items", new)
    assert (said.code, said.out) == (0, "1\n")
    assert said.err == "items: 2 added; 42 in all; this is version 1\n"
    assert cli("index", "remove", used, "--item", "007", "--item", 5, "--json").json == {
        "version": 2,
        "items": 40,
        "removed": 2,
    }
    assert offered(cli, used) == ({str(i) for i in range(40)} | {"8a"}) - {"5"}
    new.write_text("item_id,title\n5,Five again\n8a,Renamed\n")
    said = cli("index", "add", used, "--items", new, "--replace", "--json")
    assert said.json == {"version": 3, "items": 41, "added": 1, "updated": 1}
    facts = cli("index", "stats", used, "--json").json
    assert facts["kind"] == "exact" and facts["recall"] == 1
    assert (facts["items"], facts["removed"], facts["version"], facts["operations"]) == (41, 1, 3, 3)
    assert facts["delta"] == 2, "5 is new again, 8a twice; 007 came and went"
    assert len(bundle.load(used).items) == 40, "the bundle itself is as it was written"


def test_a_built_index_has_what_came_and_went(cli: Cli, used: Path, new: Path, tmp_path: Path) -> None:
    cli("index", "add", used, "--items", new)
    cli("index", "remove", used, "--item", "3")
    copied = cli("index", "build", used, "-o", tmp_path / "copy", "--json").json
    assert (copied["items"], copied["version"], copied["operations"]) == (41, 0, 0)
    assert "3" not in offered(cli, tmp_path / "copy")
    said = cli("index", "build", used, "--kind", "exact")
    assert said.out == f"{used}\n" and "exact index of 41 items" in said.err
    facts = cli("index", "stats", used, "--json").json
    assert (facts["items"], facts["version"], facts["operations"]) == (41, 2, 0)
    assert "007" in set(bundle.load(used).recommend("4", k=99)["item_id"])
    assert "version" in cli("index", "stats", used).out


def test_added_items_are_shown_by_what_the_table_says(cli: Cli, used: Path, tmp_path: Path) -> None:
    table, output = tmp_path / "items.tsv", tmp_path / "out"
    table.write_text("sku\ttitle\n3\tAnother name\n007\tBond\n")
    assert cli("index", "add", used, "--items", table, "--item", "sku", "--replace", "-q").err == ""
    told = cli("recommend", used, "--user", 4, "--only", "007,3", "--keep-seen", "--json").json
    assert {row["item_id"]: row["title"] for row in told} == {"007": "Bond", "3": "Another name"}
    assert cli("index", "build", used, "-o", output).code == 0
    assert cli("inspect", output, "--json").json["provenance"]["items_added"] == 1
    assert cli("similar", output, "--item", "007", "-k", 2).code == 0
    assert bundle.load(output).items.columns["title"][40] == "Bond"


def test_what_cannot_be_done_leaves_nothing(
    cli: Cli, refused: Callable[..., None], used: Path, new: Path, tmp_path: Path
) -> None:
    refused(cli("index", "remove", used, "--item", "x"), "item 'x' is not in the catalogue")
    new.write_text("item_id,title\n3,Again\n")
    refused(cli("index", "add", used, "--items", new), "item '3' is in the catalogue already")
    new.write_text("item_id,colour\nn,red\n")
    refused(cli("index", "add", used, "--items", new), "'colour'")
    refused(cli("index", "add", used, "--items", tmp_path / "no.csv"), "no such file")
    refused(cli("index", "stats", tmp_path / "nowhere"), "no such bundle")
    refused(cli("index", "build", used, "-o", new), "is a file")
    refused(cli("index", "build", used, "--kind", "ann", "--recall", 1.5), "recall is 1.5")
    assert cli("index", "stats", used, "--json").json["version"] == 0


def test_the_command_line_is_told_its_own_words(
    cli: Cli, refused: Callable[..., None], used: Path, new: Path
) -> None:
    assert cli("index", "remove", used, "--item", "3, 5", "--item", "7", "--json").json["removed"] == 3
    assert cli("index", "remove", used, "--item", "3,5", "--json").json["version"] == 1, "no new version"
    new.write_text("item_id,title\n4,Again\n")
    refused(cli("index", "add", used, "--items", new), str(new), "with --replace")
    new.write_text("item_id,colour\nn,red\n")
    refused(cli("index", "add", used, "--items", new), f"{new}: unknown column 'colour' in the file")
    with open_live(used):
        said = cli("index", "remove", used, "--item", "4")
        refused(said, "is being changed", "recommend, score and index stats work now")
        assert "open_live" not in said.err


def test_one_item_is_one_item() -> None:
    facts = {"removed": 0, "version": 1, "operations": 1, "stored_bytes": 5}
    said = [dict(_kept({**facts, "delta": count}))["since built"] for count in (0, 1, 2)]
    assert [line.split(" new")[0] for line in said] == ["0 items", "1 item", "2 items"]


def test_stats_are_lines_to_read(cli: Cli, used: Path, new: Path) -> None:
    cli("index", "add", used, "--items", new)
    lines = cli("index", "stats", used).out.splitlines()
    assert (
        "index          exact of 42 items" in lines
        and "version        1; operations in the journal: 1" in lines
    )
    assert "operations     1 on its items since" in cli("inspect", used).out
    told = {
        "kind": "ann", "items": 5000, "recall": 0.96, "recall_k": 100, "target": 0.95, "queries": "given",
        "lists": 40, "nprobe": 3, "exact_below": 12_000, "normalized": True,
        "bytes": 1_234_567, "bytes_of_float32": 9_000,
    }  # fmt: skip
    assert dict(about(told)) == {
        "index": "ann, approximate of 5,000 items; 3 of 40 lists are looked into",
        "recall@100": "0.9600 on the users' own queries; 0.95 was asked for",
        "index size": "1.2 MB, beside vectors of 9.0 kB",
        "searched": "exactly: 5,000 items are no more than the 12,000 of that",
    }
    assert dict(about(told | {"items": 50_000}))["searched"].startswith("exactly where a filter leaves")


def test_a_graph_that_is_lost_is_told_with_the_cure(cli: Cli, used: Path, new: Path, tmp_path: Path) -> None:
    assert "recommend.onnx" not in cli("index", "build", used).err
    cli("index", "add", used, "--items", new)
    said = cli("index", "build", used)
    assert (
        f"recommend.onnx is left out, as it was made for what there was; shortlist export {used}" in said.err
    )
    assert cli("export", used, "-o", tmp_path / "whole").code == 0
    assert (tmp_path / "whole" / "recommend.onnx").is_file()
