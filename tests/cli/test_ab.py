"""`shortlist ab report`: an experiment of known effect, told in words and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shortlist.server.events.event import Event, Impression
from shortlist.server.events.sqlite import SqliteStore
from shortlist.server.events.store import Batch

NOON = 1_767_268_800


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty users of each side with an impression each; of a every sixth buys, of b every second."""
    path = tmp_path_factory.mktemp("ab") / "events.db"
    store = SqliteStore(path)
    shown, events = [], []
    for n in range(120):
        side, buys = ("a", n % 12 == 0) if n % 2 == 0 else ("b", n % 4 == 1)
        shown.append(
            Impression(
                request_id=f"q{n}",
                user_id=f"u{n}",
                items=("1", "2"),
                timestamp=NOON,
                bundle=f"v{side}",
                variant=side,
            )
        )
        kind, rating = ("buy", 5.0) if buys else ("view", None)
        events.append(
            Event(
                event_id=f"e{n}",
                user_id=f"u{n}",
                item_id="2",
                timestamp=NOON + 60,
                event=kind,
                rating=rating,
            )
        )
    store.write([Batch(events, shown)])
    store.close()
    return path


def test_report(cli: Any, kept: Path) -> None:
    said = cli("ab", "report", kept, "--success", "buy", "--window", "1h")
    assert said.code == 0, said.err
    assert "an event 'buy' on a shown item, at most 1 hour after it was shown" in said.out
    assert "verdict  successes an impression: b wins against a, +0.3333" in said.out
    assert "bundles  b: vb (60)" in said.out
    assert "verdict  successes an impression: no difference shown" in cli("ab", "report", kept).out
    rated = ("--least-rating", "5", "--metric", "reached", "--against", "b")
    found = cli("ab", "report", kept, *rated, "--json").json
    assert [side["successes"] for side in found["sides"]] == [10, 30]
    [gap] = [one for one in found["compared"] if one["metric"] == "reached"]
    assert (gap["side"], gap["against"], gap["verdict"]) == ("a", "b", "loses")
    assert gap["difference"]["value"] == pytest.approx(-1 / 3) and gap["difference"]["high"] < 0
    assert found["shares"][0]["probability"] == 1.0


def test_what_is_wrong_is_said(cli: Any, kept: Path, tmp_path: Path) -> None:
    assert (
        "users were not divided as planned"
        in cli("ab", "report", kept, "--share", "a=9", "--share", "b=1").err
    )
    for given, words in (
        (("--window", "soon"), "no span of time"),
        (("--share", "a"), "expected SIDE=N"),
        (("--against", "c"), "no side 'c'"),
        (("--since", "2030-01-01"), "no impressions"),
        (("--success", "bye"), "no event of type 'bye'"),
        (("--success", "bye"), "did you mean 'buy'?"),
    ):
        said = cli("ab", "report", kept, *given)
        assert said.code == 1 and words in said.err, said.err
    some = cli("ab", "report", kept, "--success", "buy", "--success", "veiw", "--json")
    assert some.code == 0 and [side["successes"] for side in some.json["sides"]] == [10, 30]
    [warned] = [one for one in some.json["warnings"] if "'veiw'" in one]
    assert "did you mean 'view'?" in warned
    never = cli("ab", "report", kept, "--success", "view", "--least-rating", "5")
    assert never.code == 0 and "no event counts as a success" in never.err
    assert cli("ab", "report", tmp_path / "none.db").code == 1
