"""Blocks of a table: what others' readers find in the file they make, and who needs Polars for it."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.data import blocks
from shortlist.data.blocks import Texts, encode, num_rows, require_ending, write_parquet
from shortlist.errors import DataError

WHOLE = st.integers(-(2**31), 2**31 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
ROWS = st.lists(st.tuples(TEXTS, WHOLE, st.integers(-(2**63), 2**63 - 1), st.floats(width=32), st.floats()))
SCHEMA = {"text": pl.String, "small": pl.Int32, "large": pl.Int64, "single": pl.Float32, "double": pl.Float64}


def as_columns(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    text, *numbers = list(zip(*rows, strict=True)) or [()] * 5
    values = sorted(set(text)) or ["nobody's"]
    types = (np.int32, np.int64, np.float32, np.float64)
    named = zip(("small", "large", "single", "double"), numbers, types, strict=True)
    plain = {name: np.array(column, kind) for name, column, kind in named}
    return {"text": Texts(np.array([values.index(t) for t in text], np.int64), values), **plain}


def made(folder: Path, parts: list[dict[str, Any]], name: str = "x") -> Path:
    """The Parquet file of some blocks."""
    path, ends = folder / f"{name}.parquet", []
    with (folder / f"{name}.blocks").open("wb") as file:
        for part in parts:
            file.write(encode(".parquet", part, first=not ends))
            ends.append(file.tell())
    write_parquet(folder / f"{name}.blocks", ends, path)
    return path


@settings(max_examples=15, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=3))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, parts: list[Any]) -> None:
    path = made(tmp_path_factory.mktemp("parquet"), [as_columns(rows) for rows in parts])
    wanted = pl.DataFrame([row for rows in parts for row in rows], schema=SCHEMA, orient="row")
    assert pl.read_parquet(path).equals(wanted, null_equal=True)
    assert sum(num_rows(as_columns(rows)) for rows in parts) == len(wanted)


def test_groups_of_rows_do_not_depend_on_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(blocks, "_GROUP", 1000)
    score = np.random.default_rng(1).normal(size=4_200)
    names = [f"ü{n}" for n in range(4_200)]

    def cut(size: int) -> list[dict[str, Any]]:
        starts = range(0, len(score), size)
        return [
            {"id": Texts(np.arange(len(s)), names[at : at + size]), "score": s}
            for at in starts
            for s in [score[at : at + size]]
        ]

    whole, parts = made(tmp_path, cut(5_000), "whole"), made(tmp_path, cut(77), "parts")
    assert whole.read_bytes() == parts.read_bytes()
    found = parquet.ParquetFile(parts)
    groups = [found.metadata.row_group(n) for n in range(found.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [1000] * 4 + [200]
    assert groups[0].column(1).compression == "ZSTD"
    assert groups[0].column(1).statistics.max == score[:1000].max()
    assert found.read().to_pydict() == {"id": names, "score": score.tolist()}


def test_another_reader(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    rows = [("a", 1, 2, 0.5, 0.25), ("b", -1, 2**40, -1.5, 3.0)]
    path = made(tmp_path, [as_columns(rows)] * 2)
    assert duckdb.sql(f"from '{path}'").fetchall() == rows * 2


def test_a_table_of_no_blocks_is_a_table(tmp_path: Path) -> None:
    assert pl.read_parquet(made(tmp_path, [])).height == 0


def test_what_the_system_refuses_is_an_os_error(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    part = {"x": np.random.default_rng(0).normal(size=40_000)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "b").write_bytes(data := encode(".parquet", part, first=True))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as said:
            write_parquet(tmp_path / "b", [len(data)], tmp_path / "x.parquet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert said.value.errno == 27
    with pytest.raises(OSError, match="truncated"):
        write_parquet(tmp_path / "b", [len(data) // 2], tmp_path / "x.parquet")


def test_lines_and_text_hold_the_same(tmp_path: Path) -> None:
    part = {"id": Texts(np.array([1, 0]), ['a "b",', "c"]), "score": np.array([0.5, np.nan])}
    lines = encode(".jsonl", part, first=True)
    assert lines == b'{"id":"c","score":0.5}\n{"id":"a \\"b\\",","score":null}\n'
    header = encode(".csv", part, first=True)
    assert header == b"id,score\n" + encode(".csv", part, first=False)
    assert pl.read_csv(header).rows() == pl.read_ndjson(lines).rows() == [("c", 0.5), ('a "b",', None)]


@pytest.mark.parametrize("text", ["\r", "a\rb", "\n", "\r\n", "a\r\n", " ", "", '"', "\x85\u2028", "nul\x00"])
def test_any_text_is_a_cell(text: str) -> None:
    part = {"id": Texts(np.array([0, 1]), [text, "b"]), "rank": np.array([1, 2])}
    found = encode(".csv", part, first=True).decode()
    assert list(csv.reader(io.StringIO(found, newline=""))) == [["id", "rank"], [text, "1"], ["b", "2"]]
    assert found.endswith("\nb,2\n") and not found.endswith("\r\nb,2\n")


def test_endings() -> None:
    assert [require_ending(Path(f"x{end}")) for end in (".Parquet", ".csv", ".jsonl")] == list(blocks.ENDINGS)
    with pytest.raises(DataError, match=r"the ending '\.xls'"):
        require_ending(Path("x.xls"))


def test_parquet_alone_needs_polars(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['polars'] = None\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from shortlist.errors import MissingExtra\n"
        "from shortlist.pipeline.resumable import Target, write\n"
        "for ending in ('.csv', '.jsonl'):\n"
        "    write(Target(Path(sys.argv[1], 'x' + ending), {}, 1), lambda _: [(1, {'x': np.ones(2)})])\n"
        "try:\n"
        "    write(Target(Path(sys.argv[1], 'x.parquet'), {}, 1), lambda _: 1 / 0)\n"
        "except MissingExtra as error:\n"
        "    print(error, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert ".csv and .jsonl need nothing" in done.stdout and "'tables'" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.jsonl"]
