"""exclude, only and where of every query, against a loop over the catalogue."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shortlist.errors import FilterError, RequestError
from shortlist.index.exact import ExactIndex
from shortlist.pipeline import filters
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility

from .conftest import ITEM_IDS, NUM_ITEMS, SEEN, USER_IDS

PREDICATES = {
    "year >= 100": lambda at: at >= 10,
    "'War' in genres or 'Drama' in genres": lambda at: at % 3 != 1,
    "genres is missing": lambda at: at % 3 == 1,
    "title == 'Film i07'": lambda at: ITEM_IDS[at] == "i07",
    "item_id in ('i01', 'i02') and year < 150": lambda at: ITEM_IDS[at] in ("i01", "i02") and at < 15,
    "year < 0": lambda at: False,
}
ASKED = [*USER_IDS[:4], "u5", "nobody"]


def drawn(draw: random.Random, kind: str) -> Any:
    """A filter of one query."""
    if draw.random() < 0.25:
        return None
    return draw.choice(list(PREDICATES)) if kind == "where" else draw.sample(ITEM_IDS, draw.randrange(13))


@pytest.mark.parametrize("seed", range(24))
def test_every_query_gets_what_a_loop_leaves_it(
    joint: Recommender, ranker_only: Recommender, seed: int
) -> None:
    draw = random.Random(seed)
    kinds = ("exclude", "only", "where")
    each = {kind: draw.random() < 0.6 for kind in kinds}
    given_ = {k: [drawn(draw, k) for _ in ASKED] if each[k] else drawn(draw, k) for k in kinds}
    filter_seen, k = draw.random() < 0.5, draw.randint(1, 35)
    alone = replace(joint, ranker=None, utility=Utility(), index=ExactIndex.of(joint.item_vectors))
    rec = (joint, alone, ranker_only)[seed % 3]
    slate = rec.recommend(ASKED, k, filter_seen=filter_seen, **given_)
    for query, user in enumerate(ASKED):
        exclude, only, where = (given_[n][query] if each[n] else given_[n] for n in kinds)
        left = {
            ITEM_IDS[at]
            for at in range(NUM_ITEMS)
            if (not exclude or ITEM_IDS[at] not in exclude)
            and (only is None or ITEM_IDS[at] in only)
            and (where is None or PREDICATES[where](at))
            and not (filter_seen and user in USER_IDS and SEEN[USER_IDS.index(user), at])
        }
        mine = slate.of(query)
        got = mine["item_id"].tolist()
        assert set(got) <= left and len(set(got)) == len(got)
        if rec.retriever is not None or given_["only"] is not None:
            assert len(got) == min(k, len(left))
        else:  # a fixed number is ranked, of the most popular that are left
            assert len(got) == min(k, max(k, 8), len(left))
        alone_ = rec.recommend(user, k, filter_seen=filter_seen, exclude=exclude, only=only, where=where)
        if rec.retriever is not None:
            assert alone_["item_id"].tolist() == got
            np.testing.assert_allclose(alone_["score"], mine["score"], rtol=1e-6)


def test_an_empty_only_leaves_nothing(joint: Recommender) -> None:
    assert len(joint.recommend("u0", only=[])) == 0
    slate = joint.recommend(["u0", "u1"], only=[[], ["i07"]], filter_seen=False)
    assert slate["user_id"].tolist() == ["u1"] and slate["item_id"].tolist() == ["i07"]


def test_equal_filters_are_searched_together(joint: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    rec, searched = replace(joint, index=ExactIndex.of(joint.item_vectors)), []
    real = ExactIndex.search

    def search(self: ExactIndex, queries: Any, k: int, **given: Any) -> Any:
        searched.append((len(queries), given["allow"]))
        return real(self, queries, k, **given)

    monkeypatch.setattr(ExactIndex, "search", search)
    rec.recommend(USER_IDS[:6], where=["year > 50", None, "year > 50", "year < 50", None, "year > 50"])
    assert [count for count, _ in searched] == [3, 2, 1]
    assert searched[0][1] is rec.filters.where("year > 50"), "worked out once"
    assert not searched[0][1].flags.writeable and searched[1][1] is None


def test_very_many_excluded_items_are_masked(joint: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether what is excluded is a relation or a mask, the answers are the same."""
    alone = replace(joint, ranker=None, utility=Utility(), index=ExactIndex.of(joint.item_vectors))
    excluded: dict[str, Any] = {"exclude": ITEM_IDS[5:25], "filter_seen": False}
    asks = [excluded, excluded | {"where": "year >= 100"}, excluded | {"only": ITEM_IDS[:12]}]

    def answers() -> list[Any]:
        slates = [rec.recommend(USER_IDS, 30, **ask) for rec in (joint, alone) for ask in asks]
        return [[slate[name].tolist() for name in ("user_id", "item_id", "score")] for slate in slates]

    relation = joint.filters.read(len(USER_IDS), excluded["exclude"], None, None)
    expected = answers()
    monkeypatch.setattr(filters, "_PAIRS", 10)
    masked = joint.filters.read(len(USER_IDS), excluded["exclude"], None, None)
    assert relation.exclude is not None and relation.groups[0].allow is None
    assert masked.exclude is None and masked.groups[0].allow is not None
    assert masked.groups[0].allow.tolist() == [at not in range(5, 25) for at in range(NUM_ITEMS)]
    for (users, items, scores), found in zip(expected, answers(), strict=True):
        assert found[:2] == [users, items] and len(items) > 0
        assert found[2] == pytest.approx(scores)


def test_masks_that_are_not_used_are_forgotten(joint: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "_KEPT", 3)
    first = joint.filters.where("year > 1")
    for year in range(2, 6):
        joint.filters.where("year > 1")
        joint.filters.where(f"year > {year}")
    assert joint.filters.where("year > 1") is first
    assert len(joint.filters._masks) == 3


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"where": "yeer > 3"}, r"^where, character 1: items have no column 'yeer'"),
        ({"where": [None, "year > "]}, r"^where\[1\], character 8: expected a column or a value"),
        ({"where": ["year > 3"]}, "where is given for 1 queries, but there are 2"),
        ({"where": 3}, "where must be a text, got 3"),
        ({"where": {"year": 1990}}, "where must be a text, got {'year': 1990}"),
        ({"where": [3, None]}, r"where\[0\]: expected a text, got 3"),
        ({"only": [["i07"]]}, "only is given for 1 queries, but there are 2"),
        ({"only": [["i07"], ["i7"]]}, r"^only\[1\]: item 'i7' is not in the catalogue"),
        ({"only": [["i07"], "i07"]}, r"only\[1\]: expected a list of ids, as others are, got 'i07'"),
        ({"exclude": [["i07", True], None]}, r"exclude\[0\]\[1\]: expected an item id, got True"),
    ],
)
def test_what_is_refused_names_the_query(joint: Recommender, ask: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        joint.recommend(["u0", "u1"], **ask)
    if "character" in message:
        assert isinstance(caught.value, FilterError)
        assert caught.value.query == (1 if isinstance(ask["where"], list) else None)
