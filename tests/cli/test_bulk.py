"""Files of all shortlists and all neighbours: what they hold, what is refused, what a killed run leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from shortlist import bundle
from shortlist.cli.bulk import read_users
from shortlist.errors import DataError

from .conftest import NUM_ITEMS, NUM_USERS

Cli = Callable[..., Any]


def rows(slate: Any) -> list[dict[str, Any]]:
    return [{n: row[n] for n in ("user_id", "item_id", "rank", "score", "rating", "source")} for row in slate]


def test_every_user_the_bundle_knows(cli: Cli, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.parquet"
    said = cli("recommend", run, "--all-users", "-k", 3, "-o", path, "--exclude", "1,2")
    assert (said.code, said.out) == (0, f"{path}\n")
    assert f"{NUM_USERS} users, {3 * NUM_USERS} rows" in said.err and f"wrote {path}" in said.err
    recommender = bundle.load(run / "bundle")
    users = list(recommender.users.vocabulary.values)
    wanted = rows(recommender.recommend(users, 3, exclude=["1", "2"]))
    for found, row in zip(pl.read_parquet(path).to_dicts(), wanted, strict=True):
        assert found == pytest.approx(row, abs=1e-5)


def test_a_list_of_users_at_a_time(cli: Cli, run: Path, tmp_path: Path) -> None:
    listed, path = tmp_path / "users.csv", tmp_path / "out.csv"
    listed.write_text("name,user_id\nB,4\nA,7\nC,stranger\n")
    words = ("recommend", run, "--users", listed, "-k", 2, "--keep-seen", "-o", path)
    said = cli(*words, "--json")
    assert said.code == 0 and "1 of 3 users are not known" in said.err
    assert said.json.pop("seconds") < 60
    assert {n: said.json[n] for n in ("path", "users", "rows", "resumed")} == {
        "path": str(path), "users": 3, "rows": 6, "resumed": 0,
    }  # fmt: skip
    wanted = bundle.load(run / "bundle").recommend(["4", "7", "stranger"], 2, filter_seen=False)
    found = pl.read_csv(path, schema_overrides={"user_id": pl.String, "item_id": pl.String})
    assert found.select("user_id", "item_id").rows() == [(r["user_id"], r["item_id"]) for r in wanted]
    assert cli(*words, "--quiet", "--force").err == ""


def test_neighbours_of_every_item(cli: Cli, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "near.jsonl"
    said = cli("similar", run, "--all", "-k", 2, "-o", path, "-q")
    assert (said.code, said.out, said.err) == (0, f"{path}\n", "")
    found = pl.read_ndjson(path)
    assert found.columns == ["item_id", "neighbour_id", "rank", "score"] and len(found) == 2 * NUM_ITEMS
    one = cli("similar", run, "--item", 5, "-k", 2, "--json").json
    assert found.filter(item_id="5")["neighbour_id"].to_list() == [row["item_id"] for row in one]


def test_a_long_run_is_foretold(cli: Cli, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shortlist.cli.bulk._MANY", NUM_ITEMS)
    monkeypatch.setattr("shortlist.pipeline.bulk.similar_seconds", lambda *_, **__: 7_321.0)
    said = cli("similar", run, "--all", "-o", tmp_path / "a.csv")
    assert f"{NUM_ITEMS} items are compared with each other: about 2 h 2 min" in said.err
    assert cli("similar", run, "--all", "-o", tmp_path / "b.csv", "-q").err == ""
    monkeypatch.setattr("shortlist.cli.bulk._MANY", NUM_ITEMS + 1)
    assert "compared" not in cli("similar", run, "--all", "-o", tmp_path / "c.csv").err


def test_parquet_without_polars_is_refused_before_anything_is_loaded(
    cli: Cli, run: Path, tmp_path: Path, refused: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    for words in (("recommend", tmp_path / "no-bundle", "--all-users"), ("similar", tmp_path, "--all")):
        said = cli(*words, "-o", tmp_path / "x.parquet")
        refused(said, "polars", ".csv and .jsonl need nothing", "'tables'")


def test_what_is_there_stays(cli: Cli, run: Path, tmp_path: Path, refused: Callable[..., None]) -> None:
    path = tmp_path / "out.csv"
    path.write_text("mine")
    refused(cli("recommend", run, "--all-users", "-o", path), "exists already", "--force")
    assert path.read_text() == "mine"
    refused(cli("recommend", run, "--all-users", "-o", tmp_path / "no" / "x.csv"), "there is no folder")
    refused(cli("similar", run, "--all", "-o", tmp_path / "x.xml"), "'.xml'", ".parquet")
    refused(cli("recommend", run, "--users", tmp_path / "none.txt", "-o", tmp_path / "x.csv"), "no such file")
    assert [p.name for p in tmp_path.iterdir()] == ["out.csv"]


def test_what_one_user_is_or_did_is_not_everybodys(
    cli: Cli, run: Path, tmp_path: Path, refused: Callable[..., None]
) -> None:
    path = tmp_path / "x.csv"
    for words in (("--all-users",), ("--users", tmp_path / "some.txt")):
        (tmp_path / "some.txt").write_text("4\n7\n")
        said = cli("recommend", run, *words, "--context", "user_id=7", "-o", path)
        refused(said, "user_id cannot be the same for all users", "--users FILE")
        said = cli("recommend", run, *words, "--context", "history=1|2", "-o", path)
        refused(said, "history is what one user did")
    assert not path.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("recommend", "needs --user, or --all-users"),
        ("recommend --all-users", "--all-users needs --output FILE"),
        ("recommend --user 4 -o x.csv", "--output does not go with --user"),
        ("recommend --user 4 --all-users -o x.csv", "--user and --all-users do not go together"),
        ("recommend --user 4 --all-users", "--user and --all-users do not go together"),
        ("recommend --all-users --history 1 -o x.csv", "--history is what one user did"),
        ("similar", "needs --item, or --all and --output"),
        ("similar --all", "--all needs --output FILE"),
        ("similar --item 5 -o x.csv", "--output does not go with --item"),
        ("similar --item 5 --all -o x.csv", "--item and --all do not go together"),
    ],
)
def test_words_that_do_not_go_together(cli: Cli, run: Path, words: str, message: str) -> None:
    verb, *options = words.split()
    said = cli(verb, run, *options)
    assert said.code == 2 and said.err.startswith("error: ") and message in said.err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "\ufeff1\n\nu 2\r\n1\n"),
        ("a", "1\nu 2\n1"),
        ("a.csv", 'user_id,x\n1,a\n"u 2",b\n1,c\n'),
        ("a.tsv", "x\tuser_id\na\t1\nb\tu 2\nc\t1\n"),
        ("a.jsonl", '{"user_id": 1}\n{"user_id": "u 2"}\n{"user_id": 1, "x": 2}\n'),
    ],
)
def test_users_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_users(tmp_path / name) == ["1", "u 2", "1"]


def test_ids_keep_their_spaces(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" lead\ntrail \n", encoding="utf-8")
    assert read_users(tmp_path / "a.txt") == [" lead", "trail "]


def test_users_are_read_from_parquet(tmp_path: Path) -> None:
    pl.DataFrame({"user_id": [3, 1]}).write_parquet(tmp_path / "a.parquet")
    assert read_users(tmp_path / "a.parquet") == ["3", "1"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.txt", b"\n", "has no users"),
        ("a.csv", b"user,x\n1,2\n", "no column 'user_id'"),
        ("a.csv", b"x,user_id\n1,2\n3\n", "user 2: expected an id, got None"),
        ("a.csv", b"user_id\n\xff\n", "not UTF-8"),
        ("a.jsonl", b'{"user_id": 1}\n{', "line 2: not valid JSON"),
        ("a.jsonl", b"[1]", "line 1: expected an object"),
        ("a.jsonl", b'{"user_id": null}', "user 1: expected an id, got None"),
    ],
)
def test_files_without_users(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=said):
        read_users(tmp_path / name)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_users(run: Path, tmp_path: Path) -> None:
    code = (
        "import resource, sys; from shortlist.cli import app\n"
        "app(sys.argv[1:], standalone_mode=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    most = []
    for count in (10_000, 200_000):
        listed = tmp_path / f"{count}.txt"
        listed.write_text("\n".join(str(n % NUM_USERS) for n in range(count)))
        words = ["recommend", str(run), "--users", str(listed), "-o", str(tmp_path / f"{count}.parquet")]
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, timeout=300
        )
        most.append(int(done.stdout.split()[-1]) / (1024 if sys.platform == "linux" else 1024**2))
    assert most[1] < most[0] + 32, f"MiB with 10,000 and 200,000 users: {most}"  # the list takes some 15


@pytest.mark.slow
def test_a_command_killed_at_many_moments(cli: Cli, run: Path, tmp_path: Path) -> None:
    """40,000 users, killed for good as soon as more is written than before, until nothing is left to do."""
    listed = tmp_path / "users.txt"
    listed.write_text("\n".join(str(n % (2 * NUM_USERS)) for n in range(40_000)))
    command = [sys.executable, "-c", "from shortlist.cli import main; main()"]
    words = ["recommend", str(run), "--users", str(listed), "-k", "30", "-o"]
    assert subprocess.run([*command, *words, str(tmp_path / "whole.parquet")], check=False).returncode == 0
    path, kills = tmp_path / "out.parquet", 0
    partial = path.with_name(f".{path.name}.partial")
    while not path.exists():
        before = partial.stat().st_size if partial.exists() else 0
        process = subprocess.Popen([*command, *words, str(path)])
        while process.poll() is None and not (partial.exists() and partial.stat().st_size > before):
            time.sleep(0.002)
        time.sleep(0.01 * (kills % 4))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills > 3
    cli(*words, path)  # clears up, if the last was killed before it could
    assert path.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
