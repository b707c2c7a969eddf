"""What decides answers is in the fingerprint: each field there is, and whatever fields hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from shortlist.features.aggregates import Aggregates
from shortlist.features.log import Log
from shortlist.features.schema import Schema
from shortlist.index.exact import ExactIndex
from shortlist.pipeline.identity import NOT_ANSWERS, fingerprint
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility
from shortlist.state.catalogue import Items
from shortlist.state.past import Past
from shortlist.state.users import Users

from .conftest import ITEM_IDS, NUM_ITEMS, USER_IDS, Known

LOG = Log(np.arange(len(USER_IDS) + 1), np.arange(len(USER_IDS), dtype=np.int32), np.arange(len(USER_IDS)))
Change = Callable[[Any], Any]


@dataclass(eq=False)
class Other(Known):
    """Another kind of scorer."""


def later(array: Any) -> Any:
    return np.asarray(array) + 1


RECOMMENDER: dict[str, Change] = {
    "items": lambda r: replace(r.items, retired=np.arange(NUM_ITEMS) == 4),
    "users": lambda r: replace(r.users, as_of=6000),
    "schema": lambda r: Schema(r.schema.query, r.schema.candidate, {"age": 2}),
    "retriever": lambda r: Other(),
    "item_vectors": lambda r: later(r.item_vectors),
    "ranker": lambda r: None,
    "item_representations": lambda r: later(r.item_representations),
    "seen_bonus": lambda r: 0.25,
    "seen_as_of": lambda r: "leave-one-out",
    "aggregates": lambda r: {"rating": Aggregates((), 3.5, (), (), ())},
    "utility": lambda r: Utility(0.7),
    "num_retrieved": lambda r: 9,
    "provenance": lambda r: {"seconds": 1.5},
    "index": lambda r: ExactIndex.of(np.asarray(r.item_vectors)),
}
ITEMS: dict[str, Change] = {
    "vocabulary": lambda i: Items.of(ITEM_IDS[::-1], {}, np.ones(NUM_ITEMS)).vocabulary,
    "columns": lambda i: {**i.columns, "year": later(i.columns["year"])},
    "log_popularity": lambda i: i.log_popularity[::-1],
    "retired": lambda i: np.arange(NUM_ITEMS) == 5,
}
USERS: dict[str, Change] = {
    "vocabulary": lambda u: Users.of(USER_IDS[::-1], {}, u.seen).vocabulary,
    "columns": lambda u: {"age": later(u.columns["age"])},
    "seen": lambda u: u.seen.rows(np.arange(len(USER_IDS))[::-1]),
    "as_of": lambda u: None,
    "past": lambda u: Past(LOG, 3.5, True),
}


@pytest.mark.parametrize(("part", "changes"), [("", RECOMMENDER), ("items", ITEMS), ("users", USERS)])
def test_every_field_counts(joint: Recommender, part: str, changes: dict[str, Change]) -> None:
    """One added to a class must be added here, or be named as one that decides nothing."""
    whole = getattr(joint, part) if part else joint
    told = {field.name for field in fields(whole) if not field.name.startswith("_")}
    assert told - (NOT_ANSWERS if not part else set()) == changes.keys()
    found = {"": fingerprint(joint)}
    for name, change in changes.items():
        other = replace(whole, **{name: change(whole)})
        found[name] = fingerprint(replace(joint, **{part: other}) if part else other)
    assert len(set(found.values())) == len(found), found


def test_what_changes_no_answer_does_not_count(joint: Recommender) -> None:
    before = fingerprint(joint)
    joint.recommend(USER_IDS[:2], 3, where="'War' in genres")  # fills what is remembered
    assert fingerprint(joint) == before == fingerprint(replace(joint, writer=print))


def test_what_fields_hold_counts(joint: Recommender) -> None:
    assert joint.items.columns["title"].dtype == object
    found = {fingerprint(joint)}
    for name in joint.items.columns:
        column = joint.items.columns[name].copy()
        column[3] = column[4]
        found.add(
            fingerprint(
                replace(joint, items=replace(joint.items, columns={**joint.items.columns, name: column}))
            )
        )
    for log in (LOG, replace(LOG, times=later(LOG.times)), replace(LOG, ratings=np.ones(len(USER_IDS)))):
        for mean, timed in ((3.5, True), (3.5, False), (3.0, True)):
            found.add(fingerprint(replace(joint, users=replace(joint.users, past=Past(log, mean, timed)))))
    new = [{"item_id": "new", "title": "T", "year": year, "genres": ["War"]} for year in (1, 2)]
    found |= {fingerprint(joint.add_items(one)) for one in new}
    found.add(fingerprint(joint.add_items(new[0]).remove_items(["i00"])))
    assert len(found) == 1 + 3 + 9 + 3


def test_what_a_scorer_answers_with_counts(joint: Recommender) -> None:
    def of(**held: Any) -> str:
        return fingerprint(replace(joint, retriever=SimpleNamespace(**held), ranker=None))

    tables, file = {"a": np.arange(3)}, SimpleNamespace  # files of graphs, as far as they are looked at

    class File(file):
        __hash__ = object.__hash__

    alike = [of(encoder_hash="x", stored={"query": File(content=b"1")}) for _ in range(2)]
    found = [
        of(encoder_hash="x", stored={"query": File(content=b"2")}),
        of(encoder_hash="y", stored={"query": File(content=b"1")}),
        of(encoder=SimpleNamespace(content_hash="x"), tables=tables),
        of(encoder=SimpleNamespace(content_hash="y"), tables=tables),
        of(encoder=SimpleNamespace(content_hash="x"), tables={"a": np.arange(1, 4)}),
        of(net=[print, np.ones(2)]),
        of(net=[repr, np.ones(2)]),
        of(remembered=1),
    ]
    assert len(set(alike)) == 1 and len({*alike, *found}) == 1 + len(found)
    assert of(remembered=2) == found[-1]
