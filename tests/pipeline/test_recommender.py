"""Recommendations against a naive loop over the catalogue, filters, fallbacks and bad requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shortlist.errors import BundleError, RequestError
from shortlist.features.schema import Schema
from shortlist.index.build import build
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.stages import Utility

from .conftest import ITEM_IDS, ITEM_VECTORS, NUM_ITEMS, SEEN, USER_IDS, USER_VECTORS, Known

FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)


def log_p(user: int) -> np.ndarray:
    scores = (USER_VECTORS[user] @ ITEM_VECTORS[:NUM_ITEMS].T).astype(np.float64)
    return scores - np.log(np.exp(scores).sum())


def rating(rec: Recommender, user: int, item: int) -> float:
    row = rec.score({"user_id": USER_IDS[user], "item_id": ITEM_IDS[item]})
    return float(row["rating"][0])


@pytest.mark.parametrize("user", [0, 3, 11])
def test_two_stages_equal_a_naive_loop(joint: Recommender, user: int) -> None:
    slate = joint.recommend(USER_IDS[user], k=5)
    p = log_p(user)
    left = [i for i in range(NUM_ITEMS) if not SEEN[user, i]]
    retrieved = sorted(left, key=lambda i: (-np.float32(p[i]), i))[:8]
    score = {i: p[i] + 0.5 * rating(joint, user, i) for i in retrieved}
    best = sorted(retrieved, key=lambda i: (-round(score[i], 5), i))[:5]
    assert slate["item_id"].tolist() == [ITEM_IDS[i] for i in best]
    np.testing.assert_allclose(slate["score"], [score[i] for i in best], atol=1e-5)
    np.testing.assert_allclose(slate["retrieval_score"], p[best], atol=1e-5)
    np.testing.assert_allclose(slate["rating"], [rating(joint, user, i) for i in best], atol=1e-5)
    assert slate["rank"].tolist() == [1, 2, 3, 4, 5]
    assert set(slate["source"]) == {"retrieval"}


def test_a_batch_is_its_rows(joint: Recommender) -> None:
    batch = joint.recommend(["u0", "u5", "nobody", "u0"], k=4)
    for number, user in enumerate(["u0", "u5", "nobody", "u0"]):
        alone = joint.recommend(user, k=4)
        assert len(batch.of(number)) == len(alone)
        for a, b in zip(batch.of(number), alone, strict=True):
            assert a == pytest.approx(b)


def test_blocks_change_nothing(joint: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = joint.recommend(USER_IDS, k=4)
    monkeypatch.setattr("shortlist.pipeline.shortlists._PAIRS", 17)
    monkeypatch.setattr("shortlist.pipeline.stages._PAIRS", 3)
    for a, b in zip(whole, joint.recommend(USER_IDS, k=4), strict=True):
        assert a == pytest.approx(b)


@FIXTURES
@given(data=st.data())
def test_never_what_is_seen_or_excluded_and_always_k(joint: Recommender, data: st.DataObject) -> None:
    user = data.draw(st.integers(0, len(USER_IDS) - 1))
    exclude = data.draw(st.none() | st.lists(st.sampled_from(ITEM_IDS)))
    only = data.draw(st.none() | st.lists(st.sampled_from(ITEM_IDS)))
    filter_seen = data.draw(st.booleans())
    k = data.draw(st.integers(1, 40))
    stranger = data.draw(st.booleans())
    rec = data.draw(st.sampled_from([joint, replace(joint, ranker=None, utility=Utility())]))
    left = [
        i
        for n, i in enumerate(ITEM_IDS)
        if not (filter_seen and not stranger and SEEN[user, n])
        and i not in (exclude or ())
        and (only is None or i in only)
    ]
    slate = rec.recommend(
        "nobody" if stranger else USER_IDS[user], k=k, filter_seen=filter_seen, exclude=exclude, only=only
    )
    got = slate["item_id"].tolist()
    assert set(got) <= set(left)
    assert len(got) == len(set(got)) == min(k, len(left))
    assert np.all(np.diff(slate["score"]) <= 0)


def test_a_user_who_has_seen_everything_gets_nothing(joint: Recommender) -> None:
    slate = joint.recommend("u5")
    assert len(slate) == 0 and slate.to_dicts() == []
    assert list(slate.columns) == [
        "user_id", "item_id", "score", "rank", "retrieval_score", "rating", "source",
    ]  # fmt: skip
    assert len(joint.recommend("u5", filter_seen=False)) == 10
    assert len(joint.recommend("u1", only=[])) == 0
    assert len(joint.recommend("u1", exclude=ITEM_IDS)) == 0


def test_k_beyond_the_catalogue_gives_what_is_left(joint: Recommender) -> None:
    assert len(joint.recommend("u1", k=10_000)) == NUM_ITEMS - SEEN[1].sum()


@pytest.mark.parametrize("user", ["nobody", "", None])
def test_unknown_users_get_the_popular_items(joint: Recommender, user: Any) -> None:
    slate = joint.recommend({"user_id": user}, k=6, exclude=ITEM_IDS[:5])
    popularity = joint.items.log_popularity
    best = sorted(range(5, NUM_ITEMS), key=lambda i: (-popularity[i], i))[:6]
    assert slate["item_id"].tolist() == [ITEM_IDS[i] for i in best]
    assert set(slate["source"]) == {"popular"}
    np.testing.assert_allclose(slate["score"], popularity[best], rtol=1e-6)


def test_a_model_without_user_ids_answers_for_everyone(joint: Recommender) -> None:
    class Ageing(Known):
        def encode_query(self, columns: Any) -> Any:
            return super().encode_query(
                {**columns, "user_id": np.array(["u2"] * len(columns["age"]), object)}
            )

    schema = Schema({"age": "float", "timestamp": "int"}, joint.schema.candidate)
    scorer = Ageing()
    rec = Recommender.of(joint.items, joint.users, schema, retriever=scorer, ranker=scorer)
    assert set(rec.recommend({"user_id": "nobody", "age": 30.0})["source"]) == {"retrieval"}


def test_context_left_out_is_filled(joint: Recommender) -> None:
    asked = joint.retriever.asked  # type: ignore[union-attr]
    joint.recommend([{"user_id": "u2"}, {"user_id": "u2", "age": 70, "timestamp": 9}, {"user_id": "nobody"}])
    assert asked[-1]["timestamp"].tolist() == [5000, 9, 5000]
    np.testing.assert_array_equal(asked[-1]["age"], [3.0, 70.0, np.nan])


def test_a_ranker_alone_ranks_the_popular_items(ranker_only: Recommender) -> None:
    slate = ranker_only.recommend("u1", k=4)
    popularity = ranker_only.items.log_popularity
    left = [i for i in range(NUM_ITEMS) if not SEEN[1, i]]
    candidates = sorted(left, key=lambda i: (-popularity[i], i))[:8]
    best = sorted(candidates, key=lambda i: -rating(ranker_only, 1, i))[:4]
    assert slate["item_id"].tolist() == [ITEM_IDS[i] for i in best]
    np.testing.assert_array_equal(slate["score"], slate["rating"].astype(np.float64))
    assert set(slate["source"]) == {"popular"}
    assert len(ranker_only.recommend("u1", k=30, only=ITEM_IDS[:20], filter_seen=False)) == 20


def test_scores_of_rows(joint: Recommender) -> None:
    table = joint.score([
        {"user_id": "u1", "item_id": "i07"},
        {"user_id": "u1", "item_id": "new", "year": 1990},
        {"user_id": "nobody", "item_id": "i07", "year": 20, "timestamp": 8},
    ])  # fmt: skip
    assert list(table.columns) == ["user_id", "item_id", "rating", "log_p"]
    item = ITEM_IDS.index("i07")
    q = np.concatenate([USER_VECTORS[[1, 1, 12]], [[1.5, 5], [1.5, 5], [0, 0.008]]], 1)
    c = np.concatenate([ITEM_VECTORS[[item, 30, item]], np.repeat([[item / 10], [19.9], [0.2]], 2, 1)], 1)
    np.testing.assert_allclose(table["rating"], np.sin((q * c).sum(1)), atol=1e-5)
    np.testing.assert_allclose(table["log_p"][0], log_p(1)[item], rtol=1e-5)


def test_a_retriever_alone_scores_too(joint: Recommender) -> None:
    rec = replace(joint, ranker=None, utility=Utility())
    assert list(rec.score({"user_id": "u1", "item_id": "i07"}).columns) == ["user_id", "item_id", "log_p"]
    assert "rating" not in rec.recommend("u1").columns


def test_separate_models_give_what_the_joint_one_gives(joint: Recommender) -> None:
    apart = Recommender.of(
        joint.items, joint.users, joint.schema, retriever=Known(), ranker=Known(retrieves=False),
        utility=joint.utility, num_retrieved=8,
    )  # fmt: skip
    for a, b in zip(joint.recommend(USER_IDS), apart.recommend(USER_IDS), strict=True):
        assert a == b


def test_similar_items_by_cosine(joint: Recommender) -> None:
    table = joint.similar_items("i07", k=5)
    unit = (
        ITEM_VECTORS[:NUM_ITEMS]
        / np.maximum(np.linalg.norm(ITEM_VECTORS[:NUM_ITEMS], axis=1), 1e-12)[:, None]
    )
    cosine = unit @ unit[ITEM_IDS.index("i07")]
    others = [c for i, c in enumerate(cosine) if ITEM_IDS[i] != "i07"]
    np.testing.assert_allclose(table["score"], sorted(others, reverse=True)[:5], atol=1e-6)
    assert "i07" not in table["item_id"]
    assert len(joint.similar_items("i07", k=99)) == NUM_ITEMS - 1


def test_query_vectors_order_the_catalogue(joint: Recommender) -> None:
    np.testing.assert_array_equal(joint.query_vectors(["u1", "u4"]), USER_VECTORS[[1, 4]])


@pytest.mark.parametrize("k", [0, -3, 2.5, True, "10"])
def test_k_must_be_a_count(joint: Recommender, k: Any) -> None:
    for ask in (lambda: joint.recommend("u1", k=k), lambda: joint.similar_items("i07", k=k)):
        with pytest.raises(RequestError, match="k must be a whole number of at least 1"):
            ask()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda r: r.recommend([]), "no rows"),
        (lambda r: r.recommend({"user_id": "u1", "item_id": "i07"}), "unknown column 'item_id'"),
        (lambda r: r.recommend({"user_id": "u1", "timestmp": 3}), "unknown column 'timestmp'"),
        (lambda r: r.recommend("u1", only=["i07", "i7"]), "item 'i7' is not in the catalogue"),
        (lambda r: r.recommend("u1", only=[None]), r"only\[0\]: expected an item id, got None"),
        (lambda r: r.recommend("u1", exclude=[1.5]), r"exclude\[0\]: expected an item id, got 1.5"),
        (lambda r: r.score({"user_id": "u1"}), "row 0 of the request has no item_id"),
        (lambda r: r.score([{"item_id": "i07"}, {"item_id": ""}]), "row 1 of the request has no item_id"),
        (lambda r: r.similar_items("i7"), "item 'i7' is not in the catalogue"),
        (lambda r: replace(r, utility=Utility(1.0, "watched")).recommend("u1"), "needs the head 'watched'"),
    ],
)
def test_bad_requests(joint: Recommender, ask: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        ask(joint)


def test_excluding_an_item_that_is_not_there_is_fine(joint: Recommender) -> None:
    assert len(joint.recommend("u1", exclude=["no such item"])) == 10


def test_saving_is_up_to_the_writer(joint: Recommender, tmp_path: Any) -> None:
    with pytest.raises(BundleError, match="does not know how to save"):
        joint.save(tmp_path)
    written: list[Any] = []
    rec = replace(joint, writer=lambda r, path: written.append((r, path)))
    rec.save(str(tmp_path))
    assert written == [(rec, tmp_path)]


def test_the_nearest_items_do_not_depend_on_how_long_vectors_are(joint: Recommender) -> None:
    """Beside an approximate index of few items all cosines are computed, too."""
    pytest.importorskip("faiss")
    right, vectors = joint.similar_items("i07", 6), np.asarray(joint.item_vectors)
    for size in (1e20, 1e-20):
        other = replace(joint, item_vectors=vectors * np.float32(size))
        table = other.similar_items("i07", 6)
        assert table["item_id"].tolist() == right["item_id"].tolist()
        np.testing.assert_allclose(table["score"], right["score"], atol=1e-6)
    rng = np.random.default_rng(0)
    uneven = (vectors * rng.lognormal(0, 2, (len(vectors), 1))).astype(np.float32)
    other = replace(joint, item_vectors=uneven, index=build(uneven, "ann"))
    for item in ITEM_IDS[::5]:
        table, right = (made.similar_items(item, 1) for made in (other, joint))
        np.testing.assert_allclose(table["score"], right["score"], atol=1e-6)


def test_rows_are_scored_where_every_item_is_removed(joint: Recommender) -> None:
    assert joint.searcher is not None
    rows = [{"user_id": "u1", "item_id": "i07"}]
    gone = replace(joint, index=joint.searcher.without(np.arange(NUM_ITEMS)))
    assert np.isfinite(gone.score(rows)["log_p"]).all()
