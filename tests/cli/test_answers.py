from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist import bundle
from shortlist.cli.answers import context, ids, titled, typed
from shortlist.errors import RequestError
from shortlist.pipeline.recommender import Recommender

Cli = Callable[..., Any]


def test_recommend_says_what_the_bundle_says(cli: Cli, run: Path) -> None:
    expected = bundle.load(run / "bundle").recommend({"user_id": "4"}, k=5).to_dicts()
    for place in (run, run / "bundle"):
        said = cli("recommend", place, "--user", 4, "-k", 5, "--json")
        assert (said.code, said.err) == (0, "")
        rows = said.json
        titles = [row.pop("title") for row in rows]
        assert rows == expected
        assert titles == [f"The Item {row['item_id']}" for row in rows]


def test_recommend_prints_a_table(cli: Cli, run: Path) -> None:
    rows = cli("recommend", run, "--user", 4, "-k", 3, "--json").json
    header, *lines = cli("recommend", run, "--user", 4, "-k", 3).out.splitlines()
    assert header.split() == ["rank", "item_id", "title", "score", "predicted", "rating", "source"]
    for line, row in zip(lines, rows, strict=True):
        assert line.split() == [
            str(row["rank"]), row["item_id"], *row["title"].split(), f"{row['score']:.4f}",
            f"{row['rating']:.4f}", "retrieval",
        ]  # fmt: skip


def test_strangers_are_told_that_they_are(cli: Cli, run: Path) -> None:
    said = cli("recommend", run, "--user", "nobody", "-k", 2)
    assert said.code == 0 and "user nobody is not known: these are the most popular items" in said.err
    assert "not known" not in cli("recommend", run, "--user", 4, "-k", 2).err


def test_ids_nobody_knows_are_told(cli: Cli, run: Path) -> None:
    said = cli("recommend", run, "--user", 4, "-k", 2, "--exclude", "none,neither")
    assert said.code == 0 and "not in the catalogue, so without effect: none, neither" in said.err


def test_items_are_shown_by_the_first_column_of_texts_that_differ() -> None:
    class Known:
        def __init__(self, **columns: Any) -> None:
            self.items = self
            self.columns = {name: np.array(values, object) for name, values in columns.items()}

        def positions(self, ids: list[str]) -> Any:
            return np.array([int(one) for one in ids])

    rows = [{"item_id": "1", "score": 0.5}]
    kinds, names = ["a", "a", "a", "b"], ["Tisch", "Stuhl", "Bank", "Bett"]
    assert titled(Known(art=kinds, name=names), rows)[0]["title"] == "Stuhl"  # type: ignore[arg-type]
    assert titled(Known(name=names, title=kinds), rows)[0]["title"] == "a"  # type: ignore[arg-type]
    assert titled(Known(art=kinds), rows) == rows  # type: ignore[arg-type]


def test_several_users_get_a_block_each(cli: Cli, run: Path) -> None:
    said = cli("recommend", run, "--user", "4", "--user", "nobody", "-k", 2)
    first, second = said.out.split("\n\n")
    assert first.startswith("user 4\n") and second.startswith("user nobody\n")
    assert "popular" in second and "popular" not in first


def test_filters_hold(cli: Cli, tables: Path, run: Path) -> None:
    def items(*words: object) -> list[str]:
        return [row["item_id"] for row in cli("recommend", run, "--user", 4, "-k", 99, "--json", *words).json]

    split = json.loads((run / "bundle" / "manifest.json").read_text())["sizes"]
    everything, left = items("--keep-seen"), items()
    assert len(everything) == split["items"] > len(left)
    assert not {*left[:2], "none"} & set(items("--exclude", f"{left[0]}, {left[1]}", "--exclude", "none"))
    assert set(items("--only", f"{left[0]},{left[3]}")) == {left[0], left[3]}
    nothing = cli("recommend", run, "--user", 4, "--only", left[0], "--exclude", left[0])
    assert (nothing.code, nothing.out) == (0, "")
    assert "no item is left: --exclude names all of those that --only leaves" in nothing.err
    nothing = cli("recommend", run, "--user", 4, "--where", "title == 'Item'", "--only", left[0])
    assert "no item is left: --where \"title == 'Item'\" is true of none of 40 items" in nothing.err
    seen = next(iter(set(items("--keep-seen")) - set(left)))
    nothing = cli("recommend", run, "--user", 4, "--only", seen, "--where", "title is not missing")
    assert "all of those that --where and --only leave were seen or excluded" in nothing.err
    assert nothing.err.count("\n") == 1


def test_a_model_without_past_says_so(cli: Cli, refused: Callable[..., None], run: Path) -> None:
    refused(
        cli("recommend", run, "--user", "new", "--history", "3,4"), "this model reads no past", "'history'"
    )


def test_score_takes_pairs_and_files(cli: Cli, run: Path, tmp_path: Path) -> None:
    pairs = [{"user_id": "4", "item_id": "3"}, {"user_id": "4", "item_id": "new"}]
    expected = bundle.load(run / "bundle").score(pairs).to_dicts()
    said = cli("score", run, "--user", 4, "--item", "3,new", "--json")
    rows = said.json
    assert [row.pop("title") for row in rows] == ["The Item 3", ""]
    assert rows == expected
    (tmp_path / "a.csv").write_text("user_id,item_id\n4,3\n4,new\n")
    (tmp_path / "a.tsv").write_text("user_id\titem_id\n4\t3\n4\tnew\n")
    (tmp_path / "a.jsonl").write_text('{"user_id": 4, "item_id": 3}\n\n{"user_id": "4", "item_id": "new"}\n')
    pl.DataFrame(pairs).write_parquet(tmp_path / "a.parquet")
    for path in tmp_path.iterdir():
        assert cli("score", run, "--input", path, "--json").json == said.json, path
    assert "predicted rating" in cli("score", run, "--user", 4, "--item", 3).out


def test_a_score_of_an_item_nobody_knows_is_told(cli: Cli, run: Path) -> None:
    said = cli("score", run, "--user", 4, "--item", "3,zz", "--json")
    assert said.err == "not in the catalogue, so scored as a new item: zz\n" and len(said.json) == 2


def test_similar_says_what_the_bundle_says(cli: Cli, run: Path) -> None:
    rows = cli("similar", run, "--item", 3, "-k", 4, "--json").json
    assert [row.pop("title") for row in rows] == [f"The Item {row['item_id']}" for row in rows]
    assert rows == bundle.load(run / "bundle").similar_items("3", 4).to_dicts()
    assert cli("similar", run, "--item", 3, "-k", 4).out.splitlines()[0].split() == [
        "rank", "item_id", "title", "score",
    ]  # fmt: skip


def test_evaluate_finds_what_training_reported(cli: Cli, run: Path, tmp_path: Path) -> None:
    said = cli("evaluate", run, "--no-baselines", "--json", "--html", tmp_path / "page.html")
    assert said.code == 0, said.err
    reported = json.loads((run / "report.json").read_text())
    for name, figure in reported["entries"][0]["figures"].items():
        found = said.json["entries"][0]["figures"][name]["value"]
        np.testing.assert_allclose(found, figure["value"], atol=1e-4, err_msg=name)
    assert (tmp_path / "page.html").read_text().startswith("<!")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_inspect_tells_and_verifies(
    cli: Cli, refused: Callable[..., None], run: Path, tmp_path: Path
) -> None:
    manifest = json.loads((run / "bundle" / "manifest.json").read_text())
    assert cli("inspect", run, "--json").json == manifest
    text = cli("inspect", run).out
    assert f"{len(manifest['files'])} of" in text and "40 items" in text and "item_id  candidate" in text
    shutil.copytree(run / "bundle", tmp_path / "b")
    graph = tmp_path / "b" / "model" / "query.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    for verb in (["inspect"], ["recommend", "--user", "4"], ["export", "-o", str(tmp_path / "c")]):
        refused(cli(verb[0], tmp_path / "b", *verb[1:]), "query.onnx", "bytes")
    assert not (tmp_path / "c").exists()


def test_export_writes_an_equal_bundle(
    cli: Cli, refused: Callable[..., None], run: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    said = cli("export", run, "-o", output, "--quiet")
    assert (said.code, said.out, said.err) == (0, f"{output}\n", "")
    ask = ("--user", 4, "-k", 9, "--json")
    assert cli("recommend", output, *ask).json == cli("recommend", run, *ask).json
    refused(cli("export", run, "-o", output), "exists already", "--force")
    assert cli("export", run, "-o", output, "--force").code == 0
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_text("")
    refused(cli("export", run, "-o", tmp_path / "photos", "--force"), "will not replace it")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recommend", "{run}", "--user", "4", "-k", "0"], ["k must be", "got 0"]),
        (["recommend", "{run}", "--user", "4", "--only", "1,x9"], ["'x9'"]),
        (["recommend", "{run}", "--user", "4", "--context", "hour"], ["KEY=VALUE"]),
        (["recommend", "{run}", "--user", "4", "--context", "timestmp=4"], ["'timestmp'", "timestamp"]),
        (["recommend", "{run}", "--user", "4", "--timestamp", "noon"], ["'timestamp'", "'noon'"]),
        (["recommend", "{run}/bundel", "--user", "4"], ["no such bundle", "did you mean"]),
        (["recommend", "{tables}", "--user", "4"], ["is no bundle"]),
        (["recommend", "{tables}/events.csv", "--user", "4"], ["is a file"]),
        (["similar", "{run}", "--item", "x9"], ["'x9'"]),
        (["similar", "{run}", "--item", "3", "-k", "0"], ["k must be"]),
        (["score", "{run}", "--input", "gone.csv"], ["no such file", "gone.csv"]),
        (["score", "{run}", "--input", "{tables}/events.csv"], ["'rating'"]),
        (["inspect", "{tables}"], ["is no bundle"]),
        (["evaluate", "{tables}"], ["is no bundle"]),
    ],
)
def test_bad_input_is_refused(
    cli: Cli, refused: Callable[..., None], run: Path, tables: Path, words: list[str], said: list[str]
) -> None:
    refused(cli(*(word.format(run=run, tables=tables) for word in words)), *said)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"user_id,item_id\n", ["has no rows"]),
        ("a.csv", b"user_id,item_id\n4,3,2\n", ["line 2", "2 fields"]),
        ("a.csv", b"user_id,item_id\n4,\xe9\n", ["not UTF-8", "iconv"]),
        ("a.jsonl", b'{"user_id": 4}\n{', ["line 2", "JSON"]),
        ("a.jsonl", b"[4]", ["line 1", "object"]),
        ("a.jsonl", b'{"user_id": 4}', ["no item_id"]),
    ],
)
def test_bad_files_of_pairs_are_refused(
    cli: Cli,
    refused: Callable[..., None],
    run: Path,
    tmp_path: Path,
    name: str,
    content: bytes,
    said: list[str],
) -> None:
    (tmp_path / name).write_bytes(content)
    refused(cli("score", run, "--input", tmp_path / name), *said)


@pytest.mark.parametrize("words", [[], ["--user", "4"], ["--item", "3"], ["--user", "4", "--input", "a.csv"]])
def test_score_wants_pairs_or_a_file(cli: Cli, run: Path, words: list[str]) -> None:
    said = cli("score", run, *words)
    assert (said.code, said.out) == (2, "")
    assert "--input" in said.err


def test_texts_become_what_the_model_reads() -> None:
    class Stub:
        class items:
            columns = {"genres": np.array([["a", ""]], object), "year": np.array([1990])}  # noqa: RUF012

        class users:
            columns = {"zip": np.array(["02215"], object)}  # noqa: RUF012

        class schema:
            query = {"share": "float", "face": "vector"}  # noqa: RUF012
            candidate = {"item_id": "string"}  # noqa: RUF012

    row = {
        "genres": "a|b",
        "year": "1990",
        "zip": "02215",
        "share": "0.5",
        "face": "[1, 2]",
        "timestamp": "9",
    }
    assert typed(Stub(), row) == {  # type: ignore[arg-type]
        "genres": ["a", "b"], "year": 1990, "zip": "02215", "share": 0.5, "face": [1, 2], "timestamp": 9,
    }  # fmt: skip
    assert str(typed(Stub(), {"timestamp": "1998-04-01T20:00"})["timestamp"]) == "1998-04-01 20:00:00"  # type: ignore[arg-type]
    assert typed(Stub(), {"year": "soon", "share": ""}) == {"year": "soon", "share": None}  # type: ignore[arg-type]


def test_lists_of_ids_and_pairs() -> None:
    assert ids(["1,2", " 3 "]) == ["1", "2", "3"]
    assert ids(None) is None
    assert context(["a=1", "b=x=y"], "5") == {"timestamp": "5", "a": "1", "b": "x=y"}
    with pytest.raises(RequestError, match="KEY=VALUE"):
        context(["=1"])


def test_answers_need_neither_jax_nor_polars(run: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from shortlist.cli import app\n"
        "for words in (['recommend', '--user', '4'], ['score', '--user', '4', '--item', '3'],\n"
        "              ['similar', '--item', '3'], ['inspect'],\n"
        "              ['export', '-o', sys.argv[2], '--serving']):\n"
        "    try:\n"
        "        app([words[0], sys.argv[1], *words[1:]])\n"
        "    except SystemExit as stop:\n"
        "        assert not stop.code, words\n"
        "print(*{'jax', 'polars', 'scipy', 'onnx'} & {*sys.modules}, file=sys.stderr)\n"
    )
    words = [sys.executable, "-c", code, str(run), str(tmp_path / "copy")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr.splitlines()[1:] == [""], "what was written is a note; nothing heavy was loaded"
    assert "predicted rating" in done.stdout


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
