"""A store as a table: read back by what reads training's tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from shortlist.data.reading import read_table
from shortlist.data.tables import interactions
from shortlist.errors import DataError
from shortlist.server.events.event import Event, Impression
from shortlist.server.events.exporting import Choice, export, export_impressions
from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.events.store import Batch

NOW = 1_700_000_000
FORMATS = ["out.parquet", "out.csv", "out.tsv", "out.jsonl", "out.csv.gz", "out.jsonl.gz"]
ODD = ['a"b', "a,b", "a\nb", "007", "\u00e9\U0001f600", " x ", "1e5", "true", "a\tb", "null"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "events.db")
    yield made
    made.close()


def did(n: int, user: str = "ann", item: str = "i1", **more: Any) -> Event:
    return Event(event_id=f"e{n}", user_id=user, item_id=item, timestamp=NOW + n, **more)


@pytest.mark.parametrize("name", FORMATS)
def test_training_reads_what_is_written(store: SqliteStore, tmp_path: Path, name: str) -> None:
    store.append([did(n, user=text, item=text[::-1], rating=n / 2) for n, text in enumerate(ODD)])
    found = export(store, tmp_path / name)
    assert (found.rows, found.unrated) == (len(ODD), 0)
    assert found.columns == ("user_id", "item_id", "rating", "timestamp", "event_id")
    table = interactions(tmp_path / name)
    assert table["user_id"].to_list() == ODD
    assert table["item_id"].to_list() == [text[::-1] for text in ODD]
    assert table["rating"].to_list() == [n / 2 for n in range(len(ODD))]
    assert table["timestamp"].to_list() == [NOW + n for n in range(len(ODD))]
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name] == [name]  # no draft is left


@pytest.mark.parametrize("name", ["out.parquet", "out.csv", "out.jsonl"])
def test_types_of_events_and_their_context(store: SqliteStore, tmp_path: Path, name: str) -> None:
    store.append(
        [
            did(0, event="view", context={"device": "phone", "place": 3, "on": True}),
            did(1, event="buy", weight=2.0, context={"place": 0.5, "mixed": 1}),
            did(2, event="refund", context={"mixed": "x", "nothing": None}),
        ]
    )
    export(store, tmp_path / name)
    table = interactions(tmp_path / name, event="event", event_weights={"view": 1, "buy": 5, "refund": 0})
    assert table["weight"].to_list() == [1.0, 10.0]  # a refund counts nothing and is left out
    assert table["device"].to_list() == ["phone", None]
    assert table["place"].to_list() == [3.0, 0.5]
    if name.endswith("parquet"):
        whole = pl.read_parquet(tmp_path / name)
        assert whole["on"].to_list() == [True, None, None]
        assert whole["mixed"].to_list() == [None, "1", "x"]


def test_what_is_chosen(store: SqliteStore, tmp_path: Path) -> None:
    store.append([did(n, event=["view", "rate"][n % 2], rating=[None, 4.0][n % 2]) for n in range(10)])
    path = tmp_path / "out.jsonl"

    def numbers(choice: Choice | None) -> list[int]:
        export(store, path, choice)
        return [time - NOW for time in read_table(path)["timestamp"].to_list()]

    assert numbers(None) == list(range(10))
    assert numbers(Choice(kinds=["rate"])) == [1, 3, 5, 7, 9]
    assert numbers(Choice(rated=True)) == [1, 3, 5, 7, 9]
    assert numbers(Choice(since=NOW + 3, until=NOW + 6)) == [3, 4, 5]
    assert export(store, path).unrated == 5
    with pytest.raises(DataError, match="expected a finite number"):
        interactions(path)  # what `unrated` warns of
    with pytest.raises(DataError, match="no events to export"):
        export(store, path, Choice(kinds=["buy"]))


def test_more_than_a_page(store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shortlist.server.events.exporting.PAGE", 7)
    store.append([did(n, user=f"u{n}") for n in range(50)])
    for name in ("out.parquet", "out.csv"):
        assert export(store, tmp_path / name).rows == 50
        assert read_table(tmp_path / name)["event_id"].to_list() == [f"e{n}" for n in range(50)]


def test_what_comes_during_an_export_waits_for_the_next(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shortlist.server.events.exporting.PAGE", 5)
    store.append([did(n) for n in range(20)])
    read, late = store.since, iter(range(100, 200))

    def since(sequence: int, limit: int) -> Any:
        store.append([did(next(late), context={"new": 1})])
        return read(sequence, limit)

    monkeypatch.setattr(store, "since", since)
    found = export(store, tmp_path / "out.csv")
    assert (found.rows, found.columns) == (20, ("user_id", "item_id", "timestamp", "event_id"))


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_an_export_that_fails_leaves_what_was_there(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_text("before")
    store.append([did(1)])

    def row(*_: Any) -> None:
        raise RuntimeError("stopped")

    monkeypatch.setattr("shortlist.server.events.exporting._row", row)
    with pytest.raises(Exception, match="stopped"):
        export(store, tmp_path / name)
    assert (tmp_path / name).read_text() == "before"
    assert not list(tmp_path.glob(".out*"))


def test_unknown_endings_are_refused_first(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown format '\.xlsx'"):
        export(store, tmp_path / "out.xlsx")
    with pytest.raises(DataError, match=r"unknown format '\.gz'"):
        export(store, tmp_path / "out.parquet.gz")


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_impressions_are_a_row_an_item(store: SqliteStore, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no impressions"):
        export_impressions(store, tmp_path / name)
    first = Impression(
        request_id="r1", user_id="ann", items=("a", "b"), timestamp=NOW, bundle="v1", propensity=(0.5, 1.0)
    )
    second = Impression(request_id="r2", user_id="bob", items=("c",), timestamp=NOW + 1, variant="B")
    store.write([Batch((), [first, second])])
    assert export_impressions(store, tmp_path / name).rows == 3
    table = read_table(tmp_path / name)
    assert table["request_id"].to_list() == ["r1", "r1", "r2"]
    assert table["item_id"].to_list() == ["a", "b", "c"]
    assert table["position"].to_list() == [1, 2, 1]
    assert table["propensity"].to_list() == [0.5, 1.0, None]
    assert [v or None for v in table["variant"].to_list()] == [None, None, "B"]
