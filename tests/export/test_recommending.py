"""The graph `recommend` against the recommender it was composed for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import shortlist as sl
from shortlist._typing import Columns
from shortlist.api.fitting import Fitted
from shortlist.data.splits import Split
from shortlist.errors import ExportError
from shortlist.export import answers, recommending
from shortlist.export.answers import recommend_inputs
from shortlist.export.graphs import export_graphs
from shortlist.export.packing import pack
from shortlist.export.recommending import left_out, recommend_graph
from shortlist.pipeline.recommender import Recommender
from shortlist.state.seen import Seen
from shortlist.state.storage import save_array
from shortlist.state.users import Users

Case = tuple[Recommender, dict[str, dict[str, bytes]], dict[str, bytes]]
STRANGER = "zz nobody"


def packed(parts: dict[str, Fitted]) -> tuple[dict[str, dict[str, bytes]], dict[str, bytes]]:
    graphs, weights = {}, {}
    for name, fitted in parts.items():
        scorer, prepared = fitted.scorer, fitted.prepared
        finished = export_graphs(
            scorer.net, scorer.tables, scorer.encoder, queries=prepared.queries, candidates=prepared.items
        )
        graphs[name], weights[name] = pack(finished)
    return graphs, weights


@pytest.fixture(scope="module")
def past(small_split: Split) -> Fitted:
    """A joint model of what users did, which reads no user_id: bonus, bag, history, aggregates."""
    query = sl.Tower([sl.History(length=3, dim=4), sl.Bag(dim=4, length=5)], out=4)
    tasks = [
        sl.Retrieval(seen="row", item_bias=True),
        sl.Rating(hidden=[3], aggregates=[sl.Aggregate(by=["item_id"]), sl.Aggregate()]),
    ]
    model = sl.MultiTask(query, sl.Tower([sl.Id("item_id", 4)], out=4), tasks)
    return sl.fit(model, small_split, epochs=1, batch_size=4096, seed=3)


@pytest.fixture(scope="module")
def cases(joint: Fitted, past: Fitted) -> dict[str, Case]:
    one, two = (packed({"model": fitted}) for fitted in (joint, past))

    def named(**parts: Any) -> tuple[dict[str, dict[str, bytes]], dict[str, bytes]]:
        return {p: own[0]["model"] for p, own in parts.items()}, {
            p: own[1]["model"] for p, own in parts.items()
        }

    return {
        "joint": (sl.combine(joint, joint, rating_weight=0.5, num_retrieved=30), *one),
        "apart": (
            sl.combine(joint, past, rating_weight=2.0, num_retrieved=25),
            *named(retrieval=one, ranking=two),
        ),
        "retrieval": (sl.combine(joint), *named(retrieval=one)),
        "ranking": (sl.combine(ranking=joint, num_retrieved=40), *named(ranking=one)),
        "mixed": (
            sl.combine(past, joint, rating_weight=1.0, num_retrieved=20),
            *named(retrieval=two, ranking=one),
        ),
        "past": (sl.combine(past, past, rating_weight=0.5, num_retrieved=20), *two),
    }


NAMES = ["joint", "apart", "retrieval", "ranking", "mixed", "past"]


@pytest.fixture(scope="module")
def opened(
    cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., ort.InferenceSession]:
    """The session of a recommender's graph, laid as in a bundle; of a case as it is, one for all tests."""
    sessions: dict[str, ort.InferenceSession] = {}

    def open_(recommender: Recommender, name: str) -> ort.InferenceSession:
        if recommender is not cases[name][0]:
            return laid(recommender, name)
        if name not in sessions:
            sessions[name] = laid(recommender, name)
        return sessions[name]

    def laid(recommender: Recommender, name: str) -> ort.InferenceSession:
        _, graphs, weights = cases[name]
        tmp_path = tmp_path_factory.mktemp("recommend")
        (tmp_path / "items").mkdir()
        arrays = {n: getattr(recommender, n) for n in ("item_vectors", "item_representations")}
        for file, array in {**arrays, "log_popularity": recommender.items.log_popularity}.items():
            if array is not None:
                save_array(tmp_path / "items" / f"{file}.npy", array)
        for part, content in weights.items():
            (tmp_path / part).mkdir(exist_ok=True)
            (tmp_path / part / "weights.bin").write_bytes(content)
        path = tmp_path / "recommend.onnx"
        path.write_bytes(recommend_graph(recommender, graphs, weights))
        return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    return open_


def asked(session: ort.InferenceSession, inputs: Columns) -> Columns:
    names = [o.name for o in session.get_outputs()]
    read = {i.name for i in session.get_inputs()}
    assert set(inputs) - read <= {"timestamp"}
    return dict(zip(names, session.run(names, {n: inputs[n] for n in read}), strict=True))


def require_same(recommender: Recommender, found: Columns, queries: Any, k: int, **options: Any) -> None:
    """Ids alike but where scores differ by less than 1e-5; numbers within 1e-5."""
    slate = recommender.recommend(queries, k, **options)
    width = min(k, len(recommender.items))
    everything = slate if width < k else recommender.recommend(queries, len(recommender.items), **options)
    for query in range(len(queries)):
        want, own = slate.of(query), everything.of(query)
        count = len(want)
        row = {name: values[query] for name, values in found.items()}
        assert all(len(values) == width for values in row.values())
        assert (row["item_id"][count:] == "").all()
        assert np.isneginf(row["score"][count:]).all()
        assert np.isneginf(row["retrieval_score"][count:]).all()
        if not count:
            continue
        score_of = dict(zip(own["item_id"], own["score"], strict=True))
        assert len(set(row["item_id"][:count])) == count
        for got, due in zip(row["item_id"][:count], want["item_id"], strict=True):
            assert got == due or abs(score_of[got] - score_of[due]) < 1e-5
        same = row["item_id"][:count] == want["item_id"]
        assert same.mean() > 0.9
        heads = row.keys() - {"item_id", "score", "retrieval_score"}
        assert heads == want.columns.keys() - {
            "user_id",
            "item_id",
            "score",
            "rank",
            "retrieval_score",
            "source",
        }
        for name in ("score", "retrieval_score", *heads):
            np.testing.assert_allclose(row[name][:count][same], want[name][same], rtol=0, atol=1e-5)
        assert all(np.isnan(row[name][count:]).all() for name in heads)


@pytest.mark.parametrize("name", NAMES)
def test_it_answers_as_the_recommender_does(
    name: str, cases: dict[str, Case], opened: Callable[..., ort.InferenceSession]
) -> None:
    recommender = cases[name][0]
    session = opened(recommender, name)
    users = [*recommender.users.vocabulary.values[:31], STRANGER]
    for rows, k in ((slice(31, 32), 3), (slice(0, 1), 3), (slice(25, 32), 50), (slice(0, 32), 500)):
        queries = users[rows]
        found = asked(session, recommend_inputs(recommender, queries, k))
        require_same(recommender, found, queries, k)
    found = asked(session, recommend_inputs(recommender, users[:2], 8, filter_seen=False))
    require_same(recommender, found, users[:2], 8, filter_seen=False)


@pytest.mark.parametrize("name", ["joint", "past"])
def test_what_is_excluded_never_comes_and_fewer_may_be_left(
    name: str, cases: dict[str, Case], opened: Callable[..., ort.InferenceSession]
) -> None:
    recommender = cases[name][0]
    session, ids = opened(recommender, name), recommender.items.ids
    queries = recommender.users.vocabulary.values[:2]
    inputs = recommend_inputs(recommender, queries, 10)
    for excluded in (ids, ids[4:], np.append(ids[::2], ["not there", ids[0]])):
        inputs["exclude"] = np.array([[*excluded, ""]] * 2, object)
        require_same(
            recommender, asked(session, inputs), queries, 10, filter_seen=False, exclude=excluded.tolist()
        )
    inputs["exclude"] = np.array([[*ids], [""] * len(ids)], object)  # each query has a list of its own
    found = asked(session, inputs)
    assert (found["item_id"][0] == "").all()
    assert (found["item_id"][1] != "").all()


@pytest.mark.parametrize("name", ["past", "mixed"])
def test_a_told_history_makes_a_stranger_known(
    name: str, cases: dict[str, Case], opened: Callable[..., ort.InferenceSession]
) -> None:
    recommender = cases[name][0]
    session, ids = opened(recommender, name), recommender.items.ids
    queries = [{"user_id": STRANGER, "history": ids[:4].tolist()}, {"user_id": STRANGER}]
    source = recommender.recommend(queries, 9)["source"]
    assert set(source[:9]) == {"retrieval"}
    assert set(source[9:]) == ({"popular"} if name == "mixed" else {"retrieval"})  # that reads no user_id
    require_same(recommender, asked(session, recommend_inputs(recommender, queries, 9)), queries, 9)


def test_of_equal_scores_the_first_of_the_catalogue_comes_first(
    cases: dict[str, Case], opened: Callable[..., ort.InferenceSession]
) -> None:
    recommender = cases["joint"][0]
    assert recommender.item_vectors is not None
    vectors = recommender.item_vectors.copy()
    same = np.arange(len(vectors)) % 4 > 0
    vectors[same] = 0  # scores of exactly 0, at the edge of those that are ranked too
    tied = replace(recommender, item_vectors=vectors, utility=replace(recommender.utility, rating_weight=0.0))
    session, queries = opened(tied, "joint"), tied.users.vocabulary.values[:20]
    for k in (60, 200):
        found = asked(session, recommend_inputs(tied, queries, k))
        slate = tied.recommend(queries, k)
        for query in range(len(queries)):
            want = slate.of(query)
            zero = want.positions[same[want.positions]]
            assert len(zero) > 1
            got = found["item_id"][query][: len(want)]
            assert [i for i in got if i in set(tied.items.ids[zero])] == tied.items.ids[zero].tolist()


def test_of_equal_predictions_the_first_of_the_catalogue_comes_first(
    cases: dict[str, Case], opened: Callable[..., ort.InferenceSession]
) -> None:
    recommender = cases["ranking"][0]
    assert recommender.item_representations is not None
    alike = np.arange(len(recommender.items)) % 2 == 0
    representations = np.where(alike[:, None], np.float32(0), recommender.item_representations)
    tied = replace(recommender, item_representations=representations)
    found = asked(opened(tied, "ranking"), recommend_inputs(tied, tied.users.vocabulary.values[:5], 40))
    for ids in found["item_id"]:
        places = tied.items.positions(ids[ids != ""])
        equal = places[places % 2 == 0]
        assert len(equal) > 5 and (np.diff(equal) > 0).all()  # whose popularity, the first order, differs
        assert (np.diff(tied.items.log_popularity[equal]) > 0).any()


def test_weights_and_items_are_read_where_they_lie(cases: dict[str, Case]) -> None:
    recommender, graphs, weights = cases["apart"]
    graphs = dict(reversed(graphs.items()))  # in whatever order the parts come
    model = onnx.load_from_string(recommend_graph(recommender, graphs, weights))
    outside = [t for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    files = {entry.value for t in outside for entry in t.external_data if entry.key == "location"}
    items = {f"items/{n}.npy" for n in ("item_vectors", "item_representations", "log_popularity")}
    assert files == items | {"retrieval/weights.bin", "ranking/weights.bin"}
    assert sum(len(t.raw_data) for t in model.graph.initializer) < 4096


def test_retired_items_are_out_of_the_answers_and_of_the_probabilities(
    cases: dict[str, Case], opened: Callable[..., ort.InferenceSession]
) -> None:
    recommender = cases["joint"][0]
    retired = np.zeros(len(recommender.items), np.bool_)
    retired[:150] = True
    fewer = replace(recommender, items=replace(recommender.items, retired=retired))
    queries = [*fewer.users.vocabulary.values[:3], STRANGER]
    found = asked(opened(fewer, "joint"), recommend_inputs(fewer, queries, 60))
    require_same(fewer, found, queries, 60)
    assert not set(fewer.items.ids[:150]) & set(found["item_id"].ravel())


def test_without_users_everybody_gets_the_popular_items(
    cases: dict[str, Case], opened: Callable[..., ort.InferenceSession]
) -> None:
    recommender = cases["joint"][0]
    nobody = Users.of(
        [], {n: c[:0] for n, c in recommender.users.columns.items()}, Seen.from_pairs([], [], 0)
    )
    alone = replace(recommender, users=replace(nobody, as_of=recommender.users.as_of))
    queries = [recommender.users.vocabulary.values[0], ""]
    require_same(alone, asked(opened(alone, "joint"), recommend_inputs(alone, queries, 5)), queries, 5)


def test_where_there_can_be_none_the_reason_is_told(
    cases: dict[str, Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender, graphs, weights = cases["joint"]
    assert left_out(recommender) == ""
    taken = replace(recommender.schema, query={**recommender.schema.query, "exclude": "string"})
    assert left_out(replace(recommender, schema=taken)) == "the model reads a column named 'exclude'"
    monkeypatch.setattr(recommending, "MOST_ITEMS", 100)
    with pytest.raises(ExportError, match="no graph can recommend here: 200 items are more than 100"):
        recommend_graph(recommender, graphs, weights)


def test_before_a_graph_is_given_out_strangers_and_all_items_are_asked_about(
    cases: dict[str, Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender, graphs, weights = cases["joint"]
    given: list[Columns] = []
    right = answers.require_same_answers
    asked_of = answers.recommend_inputs

    def inputs(*args: Any) -> Columns:
        given.append(asked_of(*args))
        return given[-1]

    compared: list[int] = []

    def same(want: Columns, have: Columns) -> None:
        compared.append(len(have["item_id"]))
        right(want, have)

    monkeypatch.setattr(answers, "recommend_inputs", inputs)
    monkeypatch.setattr(answers, "require_same_answers", same)
    recommend_graph(recommender, graphs, weights)
    users = [*recommender.users.vocabulary.values[:3], answers.UNKNOWN]
    assert [list(one["user_id"]) for one in given] == [users, users]
    assert compared == [10] * 4 + [len(recommender.items)] * 4


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ("_utility", "in score|the order"),
        ("_log_sum_exp", "in (retrieval_)?score"),
        ("_marked", "other items"),
        ("_known", "other items"),
    ],
)
def test_a_graph_that_answers_otherwise_is_refused(
    part: str, what: str, cases: dict[str, Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    recommender, graphs, weights = cases["joint"]
    right = getattr(recommending, part)

    def wrong(g: Any, *args: Any) -> str:
        if part == "_marked":
            right(g, *args)
            return str(args[1])  # nothing is excluded
        if part == "_known":
            return ""  # everybody is known
        return str(
            g("Mul", right(g, *args), np.array(1.001, np.float64 if part == "_utility" else np.float32))
        )

    monkeypatch.setattr(recommending, part, wrong)
    with pytest.raises(ExportError, match=what):
        recommend_graph(recommender, graphs, weights)
