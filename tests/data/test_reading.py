from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from shortlist.data.reading import read_table
from shortlist.errors import DataError

FRAME = pl.DataFrame(
    {
        "user_id": ["u1", "ü2", None],
        "count": [1, -2, 3],
        "price": [0.5, None, 2.0],
        "zip": ["02215", "9", "10"],
    }
)


def test_every_format_gives_the_same_table(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "a.parquet")
    FRAME.write_csv(tmp_path / "a.csv")
    FRAME.write_csv(tmp_path / "a.tsv", separator="\t")
    FRAME.write_csv(tmp_path / "semicolon.csv", separator=";", include_bom=True)
    FRAME.write_csv(tmp_path / "pipe.txt", separator="|")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    FRAME.write_ndjson(tmp_path / "a.jsonl")
    FRAME.write_ipc(tmp_path / "a.arrow")
    (tmp_path / "parts").mkdir()
    FRAME[:1].write_parquet(tmp_path / "parts" / "0.parquet")
    FRAME[1:].write_parquet(tmp_path / "parts" / "1.parquet")
    names = [
        "a.parquet",
        "a.csv",
        "a.tsv",
        "semicolon.csv",
        "pipe.txt",
        "a.csv.gz",
        "a.jsonl",
        "a.arrow",
        "parts",
    ]
    for name in names:
        assert_frame_equal(read_table(tmp_path / name), FRAME, check_exact=True)


def test_objects_give_the_same_table() -> None:
    pandas = pytest.importorskip("pandas")
    rows = FRAME.to_dicts()
    for source in (FRAME, FRAME.lazy(), FRAME.to_dict(as_series=False), rows, FRAME.to_arrow()):
        assert_frame_equal(read_table(source), FRAME)
    assert_frame_equal(read_table(pandas.DataFrame(rows)).with_columns(pl.col("price").fill_nan(None)), FRAME)


def test_csv_types_are_decided_by_every_value(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("n,f,late,id\n" + "1,1,1,1\n" * 3_000 + "2,2.5,x,2\n")
    frame = read_table(path, strings={"id"})
    assert frame.dtypes == [pl.Int64, pl.Float64, pl.String, pl.String]
    assert frame["late"][-1] == "x"


def test_whole_numbers_beside_a_nan_are_floats() -> None:
    assert read_table({"a": [1, float("nan")]})["a"].to_list()[0] == 1.0


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", b"", "empty \\(0 bytes\\)"),
        ("a.csv", b"\n\n", "empty"),
        ("a.csv", b"a,b\n", "0 rows and 2 columns"),
        (
            "a.csv",
            b'a,b\n1,"2\n,"\n\n1,2,3\n1\n1,2,3,4\n',
            "cannot read .*a.csv as csv: line 5 has 3 fields, expected 2, as line 1 .and 1 more such line",
        ),
        ("u.data", b"1\t2\t3\t4\n" * 3 + b"5\t6\t7\t8\t9\n", "line 4 has 5 fields, expected 4, as line 1"),
        ("a.txt", b"a::b\n1::2\n1::2::3\n", "line 3 has 3 fields, expected 2"),
        ("a.csv", "a,b\n1,2\n3,é\n".encode("latin-1"), "not UTF-8: byte 0xe9 at offset 10 \\(line 3\\)"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "a.csv is UTF-16, not UTF-8"),
        ("u.item", b"\xfe\xff" + "1|2\n".encode("utf-16-be"), "u.item is UTF-16, not UTF-8"),
        ("a.jsonl.gz", gzip.compress('{"a": 1}'.encode("utf-16"), mtime=0), "a.jsonl.gz is UTF-16"),
        ("a.csv", b"b,a,c,a\n1,2,3,4\n", "the header has 'a' twice: columns 2 and 4"),
        ("a.txt", b"a::b::a\n1::2::3\n", "the header has 'a' twice: columns 1 and 3"),
        ("a.parquet", b"PAR1 not really", "cannot read .*a.parquet as parquet"),
        ("a.jsonl", b'{"a": 1}\n{"a": ', "cannot read .*a.jsonl as jsonl"),
        ("a.arrow", b"nothing of the kind", "cannot read .*a.arrow as arrow"),
        ("a.csv.gz", b"a,b\n1,2\n", "cannot read .*a.csv.gz as csv"),
        ("a.xlsx", b"PK", "unknown format '.xlsx'"),
    ],
)
def test_unreadable_files_say_why(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_table(write(tmp_path / name, data))
    assert caught.value.hint
    if "fields" in words:
        assert "shortlist data validate" in caught.value.hint


def test_names_that_only_look_like_copies_are_read(tmp_path: Path) -> None:
    written = write(tmp_path / "a.csv", b"b,a,a_duplicated_0,,\n1,2,3,4,5\n")
    assert read_table(written).columns[:3] == ["b", "a", "a_duplicated_0"]


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "ratings.csv", b"a\n1\n")
    with pytest.raises(DataError, match="no such file") as caught:
        read_table(tmp_path / "rating.csv")
    assert "'ratings.csv'" in caught.value.hint


def test_folders_and_objects_that_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no table"):
        read_table(tmp_path)
    with pytest.raises(DataError, match="cannot read a table from int"):
        read_table(3)
    with pytest.raises(DataError, match="cannot read the dict as a table"):
        read_table({"a": [1, 2], "b": [1, 2, 3]})
    with pytest.raises(DataError, match="0 rows"):
        read_table(pl.DataFrame({"a": []}))
