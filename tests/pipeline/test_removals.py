"""Items that go, come back and change, against a plain dictionary of what there is."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shortlist.errors import RequestError
from shortlist.index.exact import ExactIndex
from shortlist.index.rows import Rows
from shortlist.pipeline import arrivals
from shortlist.pipeline.recommender import Recommender

from .conftest import ITEM_IDS, NUM_ITEMS

EVERY = {"k": 99, "filter_seen": False}


def test_a_removed_item_is_in_no_answer_and_comes_back_where_it_was(joint: Recommender) -> None:
    left = joint.remove_items(["i07", "i14"])
    for user in ("u3", "nobody"):
        ids = left.recommend(user, **EVERY)["item_id"].tolist()
        assert sorted(ids) == sorted({*ITEM_IDS} - {"i07", "i14"})
        assert len(left.recommend(user, only=["i07", "i14"], filter_seen=False)) == 0
        assert "i07" not in left.recommend(user, where="item_id < 'i08'", **EVERY)["item_id"]
    assert len(left.items) == NUM_ITEMS and left.items.num_present == NUM_ITEMS - 2
    assert left.provenance["items_removed"] == 2 and len(joint.recommend("u3", **EVERY)) == NUM_ITEMS
    assert "i07" not in left.similar_items("i21", k=99)["item_id"]
    with pytest.raises(RequestError, match="item 'i07' was removed"):
        left.similar_items("i07")
    assert left.score({"user_id": "u3", "item_id": "i07"})["rating"] == pytest.approx(
        joint.score({"user_id": "u3", "item_id": "i07"})["rating"]
    )
    with pytest.raises(RequestError, match="the model reads the column 'year' of items"):
        left.add_items({"item_id": "i07", "title": "Back"})
    back = left.add_items({"item_id": "i07", "year": 33, "title": "Back"})
    assert back.items.position("i07") == joint.items.position("i07")
    assert back.items.columns["title"][back.items.position("i07")] == "Back"
    assert back.items.num_present == NUM_ITEMS - 1 and back.provenance["items_added"] == 1
    assert "i07" in back.recommend("u3", **EVERY)["item_id"]


def test_probabilities_are_among_those_that_are_left(joint: Recommender) -> None:
    rest = joint.remove_items(ITEM_IDS[2:]).recommend("u3", **EVERY)
    assert np.exp(rest["retrieval_score"]).sum() == pytest.approx(1, abs=1e-5)
    nothing = joint.remove_items(ITEM_IDS)
    assert len(nothing.recommend(["u3", "nobody"], **EVERY)) == 0 and nothing.items.num_present == 0


def test_what_cannot_be_removed(joint: Recommender) -> None:
    with pytest.raises(RequestError, match="item 'i7' is not in the catalogue") as caught:
        joint.remove_items(["i07", "i7"])
    assert "i07" in caught.value.hint
    with pytest.raises(RequestError, match=r"ids\[0\]: expected an item id, got None"):
        joint.remove_items([None])
    once = joint.remove_items("i07")
    assert once.remove_items(["i07"]) is once and joint.remove_items([]) is joint


@pytest.mark.parametrize("form", ["copied", "overlaid", "indexed"])
def test_after_many_operations_it_is_what_was_said_last(
    joint: Recommender, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every snapshot is asked again at the end: nothing that came later is seen in it."""
    rec = joint
    if form != "copied":
        monkeypatch.setattr(arrivals, "_COPIED", 0)
    if form == "indexed":
        rec = replace(joint, index=ExactIndex.of(joint.item_vectors))
    draw = random.Random(form)
    there = {name: int(joint.items.columns["year"][at]) for at, name in enumerate(ITEM_IDS)}
    gone: set[str] = set()
    snapshots: list[tuple[Recommender, dict[str, int]]] = [(rec, dict(there))]
    for step in range(40):
        kind = draw.choice(["add", "replace", "remove", "back"])
        if kind == "remove":
            names = draw.sample(sorted(there), 2)
            rec = rec.remove_items(names)
            gone |= {*names}
            for name in names:
                del there[name]
        else:
            known = {"add": [f"n{step}a", f"n{step}b"], "replace": sorted(there), "back": sorted(gone)}[kind]
            names = draw.sample(known, min(2, len(known)))
            if not names:
                continue
            years = [draw.randrange(300) for _ in names]
            table = {"item_id": names, "year": years, "title": [f"Of {year % 3}" for year in years]}
            rec = rec.add_items(table, replace=kind == "replace")
            there |= dict(zip(names, years, strict=True))
            gone -= {*names}
        snapshots.append((rec, dict(there)))
        if step % 7 == 0:
            rec.recommend("u3", where="year >= 100 and title != 'x'", **EVERY)  # reads columns for later
    assert form == "copied" or isinstance(rec.item_representations, Rows)
    for snapshot, expected in snapshots:
        assert_is(snapshot, expected)


def assert_is(rec: Recommender, there: dict[str, int]) -> None:
    slate = rec.recommend("u3", **EVERY)
    assert set(slate["item_id"]) == {*there}
    assert set(rec.recommend("nobody", **EVERY)["item_id"]) == {*there}
    recent = {name for name, year in there.items() if year >= 100}
    assert set(rec.recommend("u3", where="year >= 100", **EVERY)["item_id"]) == recent
    asked: list[Any] = [{"user_id": "u3", "item_id": name} for name in slate["item_id"].tolist()]
    told = rec.score(asked)
    np.testing.assert_allclose(slate["rating"], told["rating"], atol=1e-5)
    np.testing.assert_allclose(slate["retrieval_score"], told["log_p"], atol=1e-5)
    shown = slate.with_items(["year", "title"])
    assert dict(zip(shown["item_id"], shown["year"], strict=True)) == there
    first = {row["item_id"] for row in shown if row["title"] == "Of 1"}
    assert set(rec.recommend("u3", where="title == 'Of 1'", **EVERY)["item_id"]) == first
    assert all(there[name] % 3 == 1 for name in first)


class Approximate(ExactIndex):
    """An index that says of itself that it is approximate."""

    @property
    def kind(self) -> str:
        return "ann"


def test_an_approximate_index_gives_what_is_near_and_cosines_order_it(joint: Recommender) -> None:
    exact = joint.remove_items(["i21"])
    assert isinstance(exact.searcher, ExactIndex)
    near = replace(exact, index=Approximate(exact.searcher.rows))
    want, got = (r.similar_items("i07", k=8) for r in (exact, near))
    assert got["item_id"].tolist() == want["item_id"].tolist()
    np.testing.assert_allclose(got["score"], want["score"], rtol=1e-6)
    assert "i21" not in got["item_id"]
