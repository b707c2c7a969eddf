"""Blocks of Parquet, read back by others' readers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist.data.parquet import MAGIC, Texts, footer, row_group
from shortlist.errors import DataError

WHOLE = st.integers(-(2**31), 2**31 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
ROWS = st.lists(st.tuples(TEXTS, WHOLE, st.integers(-(2**63), 2**63 - 1), st.floats(width=32), st.floats()))
SCHEMA = {"text": pl.String, "small": pl.Int32, "large": pl.Int64, "single": pl.Float32, "double": pl.Float64}


def as_columns(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    text, *numbers = list(zip(*rows, strict=True)) or [()] * 5
    values = sorted(set(text)) or ["nobody's"]
    types = (np.int32, np.int64, np.float32, np.float64)
    given = {
        n: np.array(v, t)
        for n, v, t in zip(("small", "large", "single", "double"), numbers, types, strict=True)
    }
    return {"text": Texts(np.array([values.index(t) for t in text], np.int64), values), **given}


def file_of(blocks: list[dict[str, Any]]) -> bytes:
    data, groups = MAGIC, []
    for block in blocks:
        more, group = row_group(block, len(data))
        data += more
        groups.append(group)
    return data + footer(groups)


@settings(max_examples=25)
@given(st.lists(ROWS, min_size=1, max_size=3))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, blocks: list[Any]) -> None:
    path = tmp_path_factory.mktemp("parquet") / "x.parquet"
    path.write_bytes(file_of([as_columns(rows) for rows in blocks]))
    wanted = pl.DataFrame([row for rows in blocks for row in rows], schema=SCHEMA, orient="row")
    assert pl.read_parquet(path).equals(wanted, null_equal=True)


def test_a_longer_file_by_every_reader(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    names = [f"ü{n}" for n in range(700)]
    sizes = [1, 0, 4_001, 9]
    blocks: list[dict[str, Any]] = [
        {
            "user_id": Texts(draw.integers(0, len(names), size), names),
            "rank": draw.integers(1, 300, size).astype(np.int32),
            "score": draw.normal(size=size),
        }
        for size in sizes
    ]
    path = tmp_path / "x.parquet"
    path.write_bytes(file_of(blocks))
    wanted = {
        "user_id": [text for block in blocks for text in block["user_id"].expand()],
        "rank": np.concatenate([block["rank"] for block in blocks]).tolist(),
        "score": np.concatenate([block["score"] for block in blocks]).tolist(),
    }
    assert pl.read_parquet(path).to_dict(as_series=False) == wanted
    assert pl.scan_parquet(path).filter(pl.col("rank") > 290).select(pl.len()).collect().item() == sum(
        rank > 290 for rank in wanted["rank"]
    )


@pytest.mark.parametrize("reader", ["pyarrow", "duckdb"])
def test_other_readers(reader: str, tmp_path: Path) -> None:
    module = pytest.importorskip(f"{reader}.parquet" if reader == "pyarrow" else reader)
    path = tmp_path / "x.parquet"
    path.write_bytes(file_of([as_columns([("a", 1, 2, 0.5, 0.25), ("b", -1, 2**40, -1.5, 3.0)])] * 2))
    found = module.read_table(path) if reader == "pyarrow" else module.sql(f"from '{path}'").arrow()
    rows = list(
        zip(
            *found.read_all().to_pydict().values()
            if hasattr(found, "read_all")
            else found.to_pydict().values(),
            strict=True,
        )
    )
    assert rows == [("a", 1, 2, 0.5, 0.25), ("b", -1, 2**40, -1.5, 3.0)] * 2


def test_what_has_no_type_is_refused() -> None:
    with pytest.raises(DataError, match=r"'when'.*datetime64"):
        row_group({"when": np.zeros(2, "M8[s]")}, 4)
