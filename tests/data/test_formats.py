"""Each kind of file and object read to the same table."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from shortlist.data.datasets import from_tables
from shortlist.data.layouts import layout_of
from shortlist.data.reading import read_table
from shortlist.errors import DataError

ROWS = [("1", "12", 5.0, 978300760), ("1", "7", 3.5, 978302109), ("26", "12", 1.0, 978301968)]
NAMES = ["user_id", "item_id", "rating", "timestamp"]
FRAME = pl.DataFrame(ROWS, schema=NAMES, orient="row")


def text(delimiter: str, header: list[str] | None = None, quote: str = "") -> str:
    rows = [header] if header else []
    lines = [*rows, *ROWS]
    return "".join(delimiter.join(f"{quote}{field}{quote}" for field in line) + "\n" for line in lines)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "a.parquet": lambda p: FRAME.write_parquet(p),
    "a.arrow": lambda p: FRAME.write_ipc(p),
    "stream.arrow": lambda p: FRAME.write_ipc_stream(p),
    "a.jsonl": lambda p: FRAME.write_ndjson(p),
    "array.json": lambda p: p.write_text(json.dumps(FRAME.to_dicts())),
    "a.jsonl.gz": lambda p: p.write_bytes(gzip.compress(FRAME.write_ndjson().encode())),
    "a.tsv": lambda p: p.write_text(text("\t", NAMES)),
    "a.csv.gz": lambda p: p.write_bytes(gzip.compress(text(",", NAMES).encode())),
    "quoted.csv": lambda p: p.write_text(text(",", NAMES, quote='"')),
    "spaced.csv": lambda p: p.write_text(text(", ", NAMES)),
    "colons.txt": lambda p: p.write_text(text("::", NAMES)),
    "quoted.txt": lambda p: p.write_text(text("||", NAMES, quote='"')),
    "odd.txt": lambda p: p.write_text(text("|~|", NAMES)),
    "caret.txt": lambda p: p.write_text(text("^", NAMES)),
    "hive.txt": lambda p: p.write_text(text("\x01", NAMES)),
    "space.txt": lambda p: p.write_text(text(" ", NAMES)),
    "windows.csv": lambda p: p.write_bytes(text(";", NAMES).replace("\n", "\r\n").encode("utf-8-sig")),
    "u.data": lambda p: p.write_text(text("\t")),
    "ratings.dat": lambda p: p.write_text(text("::")),
    "ratings.csv": lambda p: p.write_text(text(",", ["userId", "movieId", "rating", "timestamp"])),
    "a.inter": lambda p: p.write_text(
        text("\t", ["user_id:token", "item_id:token", "rating:float", "timestamp:float"])
    ),
    "indexed.csv": lambda p: FRAME.with_row_index("").write_csv(p),
    "milliseconds.csv": lambda p: FRAME.with_columns(pl.col("timestamp") * 1000).write_csv(p),
    "iso.csv": lambda p: FRAME.with_columns(pl.from_epoch("timestamp")).write_csv(p),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_interactions(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert_frame_equal(from_tables(tmp_path / name).interactions, FRAME)


def test_folders_are_one_table_and_their_partitions_columns(tmp_path: Path) -> None:
    whole = FRAME.with_columns(day=pl.Series(["a b", "a b", None]), year=pl.Series([2000, 2000, 2001]))
    for write, name in ((pl.DataFrame.write_parquet, "p"), (pl.DataFrame.write_csv, "c")):
        for at, part in enumerate(["year=2000/day=a%20b", "year=2001/day=__HIVE_DEFAULT_PARTITION__"]):
            folder = tmp_path / name / part
            folder.mkdir(parents=True)
            write(FRAME[2 * at : 2 * at + 2], folder / f"part-0.{'parquet' if name == 'p' else 'csv'}")
        (tmp_path / name / "_SUCCESS").write_text("")
        read = from_tables(tmp_path / name).interactions
        assert_frame_equal(read, whole, check_column_order=False)


def test_a_folder_of_different_tables_is_refused(tmp_path: Path) -> None:
    FRAME.write_csv(tmp_path / "a.csv")
    FRAME.drop("rating").write_csv(tmp_path / "b.csv")
    with pytest.raises(DataError, match=r"a\.csv and .*b\.csv are different tables"):
        read_table(tmp_path)


def test_objects_that_speak_arrow_give_the_same_interactions(tmp_path: Path) -> None:
    duckdb, pandas, _ = map(pytest.importorskip, ("duckdb", "pandas", "pyarrow"))
    renamed = FRAME.rename({"user_id": "customer", "item_id": "sku", "timestamp": "seen_at"})
    arrow = renamed.to_arrow()
    connection = duckdb.connect()
    connection.register("events", arrow)
    frame = pandas.DataFrame(renamed.to_dict(as_series=False))
    assert frame["customer"].dtype == "str"
    later = frame.assign(seen_at=pandas.to_datetime(frame["seen_at"], unit="s", utc=True))

    class Stream:
        """Nothing but the interface."""

        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return arrow.__arrow_c_stream__(requested_schema)

    sources = [
        renamed,
        renamed.lazy(),
        frame,
        later,
        frame.astype({"customer": "category"}),
        arrow,
        arrow.to_batches()[0],
        arrow.to_reader(),
        Stream(),
        connection.sql("select * from events"),
        connection.sql("select customer, sku, rating, to_timestamp(seen_at) as seen_at from events"),
        renamed.to_dict(as_series=False),
        renamed.to_dicts(),
    ]
    for source in sources:
        data = from_tables(source)
        assert_frame_equal(data.interactions, FRAME)
        assert any("the user is 'customer'" in note for note in data.notes)
    connection.close()


def test_types_no_arrow_reader_takes_are_refused_and_nested_ones_flattened() -> None:
    nested = pl.DataFrame(
        {"user_id": ["a", "b"], "item_id": ["x", "y"], "at": [{"n": 1, "s": {"t": "u"}}] * 2}
    )
    data = from_tables(nested.with_columns(odd=pl.Series([b"x", b"y"])))
    assert data.interactions.columns == ["user_id", "item_id", "at.n", "at.s.t"]
    assert data.notes == ("the DataFrame: 'odd' is left out: no feature reads the type Binary",)


def test_atomic_files_have_the_types_of_their_header(tmp_path: Path) -> None:
    path = tmp_path / "x.item"
    path.write_text(
        "item_id:token\tgenres:token_seq\tyear:float\tv:float_seq\n007\ta b\t1995\t0.5 1\n8\tc\t\t2 3\n"
    )
    wanted = {
        "item_id": ["007", "8"],
        "genres": [["a", "b"], ["c"]],
        "year": [1995.0, None],
        "v": [[0.5, 1.0], [2.0, 3.0]],
    }
    assert read_table(path).to_dict(as_series=False) == wanted
    path.write_text("item_id:token\tyear:float\n1\tlate\n")
    with pytest.raises(DataError, match="column 'year', row 0: expected a float, got 'late'"):
        read_table(path)


def test_movielens_tables_of_items_and_users(tmp_path: Path) -> None:
    flags = "|".join("1" if at in (0, 5) else "0" for at in range(18))
    (tmp_path / "u.item").write_bytes(f"12|Amélie (2001)|01-Jan-2001||http://x|0|{flags}\n".encode("latin-1"))
    assert read_table(tmp_path / "u.item").to_dicts()[0]["title"] == "Amélie (2001)"
    assert read_table(tmp_path / "u.item")["genres"].to_list() == [["Action", "Crime"]]
    (tmp_path / "movies.dat").write_text('12::Say "Cheese" (1999)::Drama|War\n')
    assert read_table(tmp_path / "movies.dat").rows() == [(12, 'Say "Cheese" (1999)', "Drama|War")]
    (tmp_path / "u.user").write_text("1|24|M|technician|85711\n")
    assert read_table(tmp_path / "u.user").columns == ["user_id", "age", "sex", "occupation", "zip"]


@pytest.mark.parametrize(
    ("sample", "delimiter"),
    [
        ("user;item;price\na;b;3,5\nc;d;4,5\n", ";"),
        ("when,who\n2020-01-01 10:00:00,a-b\n2020-01-02 10:00:00,c-d\n", ","),
        ('"a;b","c"\n"1;2","3"\n"4","5"\n', ","),
        ("1::Toy::A|B\n2::Heat::C|D\n", "::"),
        ("id,genres\n1,A|B\n2,C|D|E\n", ","),
        ('a,b\n"two\nlines",1\n"x",2\n', ","),
        ("2020-01-01,u1\n2020-01-02,u2\n", ","),
        ("one\n1\n2\n", None),
    ],
)
def test_the_delimiter_divides_every_line_alike(sample: str, delimiter: str | None) -> None:
    found = layout_of(sample).delimiter
    assert found == delimiter if delimiter else found not in sample


@settings(max_examples=25)
@given(
    delimiter=st.sampled_from([",", "\t", ";", "|", "::", "||", "|~|", "\x01"]),
    words=st.lists(
        st.lists(st.text("abcxyz019. -_'", min_size=1, max_size=6), min_size=3, max_size=3),
        min_size=2,
        max_size=8,
    ),
    quoted=st.booleans(),
)
def test_any_delimiter_is_found(delimiter: str, words: list[list[str]], quoted: bool) -> None:
    """Whatever the fields hold, as long as it is not that delimiter (quoted ones may hold it too)."""
    mark = '"' if quoted else ""
    rows = [["first", "second", "third"], *words]
    if quoted:
        rows[1][0] = f"x{delimiter}y"
    lines = [delimiter.join(f"{mark}{field}{mark}" for field in row) for row in rows]
    assert layout_of("\n".join(lines) + "\n").delimiter == delimiter


def test_a_named_delimiter_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("user_id.item_id\na.b\nc.d\n")
    assert from_tables(tmp_path / "a.txt", delimiter=".").interactions.rows() == [("a", "b"), ("c", "d")]


def test_numbers_too_long_for_integers_stay_ids(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("customer,sku\n123456789012345678901,1\n123456789012345678902,2\n")
    users = from_tables(tmp_path / "a.csv").interactions["user_id"].to_list()
    assert users == ["123456789012345678901", "123456789012345678902"]
