"""`shortlist events`: a server's store, exported, counted, forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shortlist.data.tables import interactions
from shortlist.server.events.event import Event, Impression
from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.events.store import Batch
from shortlist.server.events.trouble import StoreFull

NOON = 1_767_268_800  # 2026-01-01 12:00 UTC


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of five events and one impression."""
    path = tmp_path_factory.mktemp("kept") / "events.db"
    store = SqliteStore(path)
    store.append(
        [
            Event(
                event_id=f"e{n}", user_id=f"u{n % 2}", item_id=str(n), timestamp=NOON + 3600 * n, event=kind
            )
            for n, kind in enumerate(["view", "buy", "view", "view"])
        ]
    )
    store.append([Event(event_id="r", user_id="u0", item_id="9", timestamp=NOON, rating=4.0)])
    shown = Impression(request_id="q", user_id="u0", items=("1", "2"), timestamp=NOON)
    store.write([Batch((), [shown])])
    store.close()
    return path


def test_stats(cli: Any, kept: Path) -> None:
    said = cli("events", "stats", kept, "--check")
    assert said.code == 0, said.err
    for words in (
        "events                  5",
        "2026-01-01T12:00:00+00:00",
        "view         3",
        "(none)       1",
    ):
        assert words in said.out, said.out
    found = cli("events", "stats", kept, "--json").json
    assert (found["events"], found["users"], found["items"], found["impressions"]) == (5, 2, 5, 1)
    assert found["kinds"] == {"view": 3, "": 1, "buy": 1}


def test_export(cli: Any, kept: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    said = cli("events", "export", kept, "-o", path)
    assert (said.code, said.out.strip()) == (0, str(path))
    assert "4 of them have no rating: --rated leaves them out" in said.err
    assert "1 of them have no type" in said.err
    chosen = (
        "--type",
        "view",
        "--since",
        "2026-01-01T14:00",
        "--until",
        str(NOON + 3 * 3600),
        "--force",
        "--json",
    )
    assert cli("events", "export", kept, "-o", path, *chosen).json["rows"] == 1
    assert interactions(path, event="event", event_weights={"view": 1})["item_id"].to_list() == ["2"]
    assert cli("events", "export", kept, "-o", path, "--rated", "--force", "-q").err == ""
    assert interactions(path)["rating"].to_list() == [4.0]
    assert cli("events", "export", kept, "-o", path, "--impressions", "--force", "--json").json["rows"] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("export", "{kept}", "-o", "{kept}"), ("exists already", "--force")),
        (("export", "{kept}", "-o", "out.xlsx"), ("unknown format '.xlsx'",)),
        (
            ("export", "{kept}", "-o", "{new}/o.csv", "--since", "yesterday"),
            ("--since 'yesterday' is no time",),
        ),
        (("export", "{kept}", "-o", "{new}/o.csv", "--type", "sell"), ("no events to export",)),
        (("export", "{kept}", "-o", "{new}/o.csv", "--impressions", "--rated"), ("exported whole",)),
        (("stats", "{new}/nothing.db"), ("no such store of events",)),
        (("forget", "{new}/nothing.db", "--user", "1"), ("no such store of events",)),
    ],
)
def test_what_is_refused(
    cli: Any, refused: Any, kept: Path, tmp_path: Path, words: tuple[str, ...], said: tuple[str, ...]
) -> None:
    refused(cli("events", *(word.format(kept=kept, new=tmp_path) for word in words)), *said)
    assert not list(tmp_path.iterdir())


def test_forget(cli: Any, tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    store = SqliteStore(path)
    store.append([Event(event_id=str(n), user_id=f"u{n}", item_id="i", timestamp=NOON) for n in range(2)])
    assert cli("events", "forget", path, "--user", "u1", "--json").json == {
        "user_id": "u1",
        "events": 1,
        "impressions": 0,
    }
    assert [stored.event.user_id for stored in store.since(0)] == ["u0"]
    store.close()
    said = cli("events", "forget", path, "-u", "u1")
    assert said.out.strip() == "deleted 0 events and 0 impressions of u1"
    assert "nothing was known of this user" in said.err


@pytest.mark.parametrize("verb", ["export", "stats", "forget"])
def test_help_shows_examples(cli: Any, verb: str) -> None:
    text = cli("events", verb, "--help").out
    shown = text.split("Examples:\n", 1)[1].splitlines()
    assert shown and all(line.strip().startswith(f"shortlist events {verb} ") for line in shown)


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_a_run_goes_on_from_exported_events(cli: Any, run: Path, tmp_path: Path, ending: str) -> None:
    """As the guide says: export, train --from, recommend; the same export again is known already."""
    # of 360 rows 288 were learned from
    store = SqliteStore(tmp_path / "events.db")
    store.append(
        [
            Event(event_id=f"e{n}", user_id=f"new {n % 3}", item_id=str(n), timestamp=NOON + n, rating=5.0)
            for n in range(12)
        ]
    )
    store.close()
    table = tmp_path / f"events.{ending}"
    assert cli("events", "export", store.path, "-o", table, "--rated").code == 0
    said = cli("train", "--from", run, table, "-o", tmp_path / "today", debug=True)
    assert said.code == 0, said.err
    assert "12 new events after 288 known ones" in said.err
    assert "3 new users" in said.err
    assert "nothing was judged on later rows" in said.err
    shortlist = cli("recommend", tmp_path / "today", "--user", "new 1", "-k", "40", "--json").json
    assert shortlist
    assert not {row["item_id"] for row in shortlist} & {"1", "4", "7", "10"}
    store = SqliteStore(store.path)
    store.append([Event(event_id="late", user_id="7", item_id="3", timestamp=NOON + 99, rating=1.0)])
    store.close()
    assert cli("events", "export", store.path, "-o", table, "--rated", "--force").code == 0
    again = cli("train", "--from", tmp_path / "today", table, "-o", tmp_path / "tomorrow", debug=True)
    assert "1 new event after 300 known ones" in again.err
    assert "12 events were known already" in again.err


def test_an_export_without_room_names_its_own_file(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreFull("ev.db: no room left: none of the events given was kept")

    monkeypatch.setattr("shortlist.server.events.opening.open_store", full)
    said = cli("events", "export", "ev.db", "-o", tmp_path / "out.csv")
    assert said.code == 1 and "out.csv: no room left: nothing was exported" in said.err
    assert "events given" not in said.err
