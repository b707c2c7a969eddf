"""Whether a bundle is whole and answers: all that loading does not look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shortlist._typing import Array, Columns
from shortlist.bundle import contents
from shortlist.bundle.describing import index_of, request_of, sizes_of
from shortlist.bundle.graphs import RECOMMEND, facts_of
from shortlist.bundle.journals import JOURNAL
from shortlist.bundle.manifest import AGAIN, MANIFEST, Graph, Manifest
from shortlist.bundle.moments import of_one_moment
from shortlist.bundle.protobuf import Content
from shortlist.bundle.reading import checked, encoder_of, folder_of, inspect, load, readable
from shortlist.bundle.writing import digest_of_what_answers
from shortlist.errors import BundleCorrupted
from shortlist.pipeline.asking import recommend_inputs
from shortlist.pipeline.onnx_graphs import Snapshot, open_session
from shortlist.pipeline.onnx_scorer import OnnxScorer
from shortlist.pipeline.questions import candidate_columns
from shortlist.pipeline.recommender import Recommender

_SAMPLE = 64  # items that are encoded again, and that the index is asked for
_CLOSE = 1e-3  # relative; vectors may have been computed by other instructions than those of here
_FOUND = 0.5  # of a sample's own ten best an approximate index must find
_TYPES = {"tensor(float)": "f4", "tensor(int64)": "i8", "tensor(double)": "f8"}


def verify(path: str | Path) -> dict[str, Any]:
    """Check a bundle as far as can be, and return its manifest.

    Beside every file's checksum: each encoder against its hash, each graph opened, run on a row and compared
    with what the manifest says of it, arrays of the lengths and types they must have, positions inside the
    catalogue, some items encoded again, the index against the vectors, recommend.onnx against the
    recommender, the operations in live/, and one answer. Raises as `load` does, naming the file.
    """
    folder = folder_of(path)
    return of_one_moment(folder, partial(_verified, folder))


def _verified(folder: Path) -> dict[str, Any]:
    recommender = load(folder)
    with readable(folder):
        for problem in _problems(folder, recommender):
            raise BundleCorrupted(problem, hint=AGAIN)
        if (folder / JOURNAL).exists():
            from shortlist.bundle.live import open_live

            open_live(folder, write=False)
    return inspect(folder)


def _problems(folder: Path, recommender: Recommender) -> Iterator[str]:
    manifest = checked(folder, content=False)
    yield from contents.problems(folder, recommender)
    scorers = {id(s): s for s in (recommender.retriever, recommender.ranker) if isinstance(s, OnnxScorer)}
    for scorer in scorers.values():
        yield from _of_scorer(folder, manifest, recommender, scorer)
    yield from _of_items(folder, recommender)
    yield from _of_index(folder, recommender)
    if manifest.recommend.graph is not None:
        yield from _of_recommend(folder, manifest, recommender)
    yield from _of_statements(folder, manifest, recommender)
    yield from _of_answer(folder, recommender)


def _of_statements(folder: Path, manifest: Manifest, recommender: Recommender) -> Iterator[str]:
    """What the manifest says of the whole; an early one says less."""
    index = index_of(recommender) or {}
    told = {name: index.get(name) for name in manifest.index or {} if name in ("kind", "items")}
    truth: dict[str, tuple[Any, Any]] = {
        "sizes": (manifest.sizes, sizes_of(recommender)),
        "size": (manifest.size or None, sum(file.bytes for file in manifest.files.values())),
        "index": ({name: (manifest.index or {})[name] for name in told} or None, told),
        "request": (_asked(manifest.request), _asked(request_of(recommender))),
    }
    for name, (said, is_so) in truth.items():
        if said is not None and said != is_so:
            yield f"{folder / MANIFEST} says {name} {said!r:.200}, but it is {is_so!r:.200}"


def _asked(request: list[dict[str, Any]]) -> list[list[Any]]:
    return [[column.get(name) for name in ("name", "side", "type", "required")] for column in request]


def _of_scorer(
    folder: Path, manifest: Manifest, recommender: Recommender, scorer: OnnxScorer
) -> Iterator[str]:
    part = scorer.stored.folder
    if encoder_of((part / "encoder.json").read_bytes()).content_hash != scorer.encoder_hash:
        yield f"{part / 'encoder.json'}: not the encoder the manifest names"
    for side in ("query", "candidate"):
        read = {i.name for i in scorer.session(side).get_inputs()}
        if lacking := read - set(getattr(recommender.schema, side)):
            yield f"{folder / MANIFEST}: its schema lacks {sorted(lacking)}, which {side}.onnx reads"
    for graph in sorted(scorer.graphs):
        session, file = scorer.session(graph), scorer.stored.files[graph]
        yield from _of_graph(file.path, session)
        yield from _of_facts(file.path, manifest.parts[part.name].graphs[graph], session, file.content)


def _of_facts(path: Path, said: Graph, session: Any, content: Content) -> Iterator[str]:
    """What the manifest says of a graph; an early one does not tell its operators."""
    is_so = facts_of(session, content)
    for name in ("inputs", "outputs"):
        told, found = ([(t.name, t.type) for t in getattr(graph, name)] for graph in (said, is_so))
        if told != found:
            yield f"{path} has other {name} than {MANIFEST} says: {found}"
    if said.opsets and (said.opsets, said.operators) != (is_so.opsets, is_so.operators):
        yield f"{path} uses other operators than {MANIFEST} says: {is_so.opsets}, {is_so.operators}"


def _of_items(folder: Path, recommender: Recommender) -> Iterator[str]:
    """Encode some items again; not those that are others at every request."""
    if recommender.raters is not None or not len(recommender.items):
        return
    rows = np.unique(np.linspace(0, len(recommender.items) - 1, _SAMPLE).astype(np.int64))
    columns = candidate_columns(recommender.items, recommender.schema, {}, rows)
    for name, at, scorer in (
        ("item_vectors", 1, recommender.retriever),
        ("item_representations", 0, recommender.ranker),
    ):
        if scorer is not None:
            try:
                stored, again = getattr(recommender, name)[rows], scorer.encode_candidate(columns)[at]
            except Exception as error:  # ONNX Runtime's own errors share no public base
                yield f"{folder / 'items'}: candidate.onnx does not run on its items: {error}"
                return
            if again is None or again.shape != stored.shape or not _close(stored, again):
                yield f"{folder / 'items' / name}.npy holds other numbers than candidate.onnx gives"


def _close(stored: Array, again: Array) -> bool:
    scale = max(1e-6, float(np.abs(stored).max(initial=0)))
    return bool(np.allclose(stored, again, rtol=_CLOSE, atol=_CLOSE * scale))


def _of_recommend(folder: Path, manifest: Manifest, recommender: Recommender) -> Iterator[str]:
    path, said = folder / RECOMMEND, manifest.recommend
    session = open_session(path, RECOMMEND)
    yield from _of_graph(path, session)
    assert said.graph is not None
    yield from _of_facts(path, said.graph, session, Snapshot.of(path).content)
    if said.made_of not in ("", digest_of_what_answers(recommender, manifest.files)):
        yield f"{path} was made of other graphs or items than there are"
    users, k = [*recommender.users.vocabulary.values[:2], ""], min(10, len(recommender.items))
    given = recommend_inputs(recommender, users, k)
    names = ["item_id", "score"]
    try:
        found = session.run(names, {i.name: given[i.name] for i in session.get_inputs()})
    except Exception as error:  # see above
        yield f"{path} does not answer: {error}"
        return
    slate = replace(recommender, index=None).recommend(users, k)  # as the graph does: every score
    for query, user in enumerate(users):
        if not _same(slate.of(query).columns, *(values[query] for values in found)):
            yield f"{path} answers user {user!r} with other items than the recommender does"


def _same(want: Columns, items: Array, scores: Array) -> bool:
    """Whether two shortlists are the same, but for a last item that may be as good as another."""
    scored = dict(zip(want["item_id"].tolist(), want["score"].tolist(), strict=True))
    listed = [(i, s) for i, s in zip(items.tolist(), scores.tolist(), strict=True) if i]
    common = np.array([(scored[item], score) for item, score in listed if item in scored]).reshape(-1, 2)
    alike = bool(np.allclose(common[:, 0], common[:, 1], rtol=_CLOSE, atol=_CLOSE))
    return len(listed) == len(scored) and len(listed) - len(common) <= 1 and alike


def _of_graph(path: Path, session: Any) -> Iterator[str]:
    """Run a graph on one row of empty texts and zeros, ten of a list."""
    feed = {i.name: _zeros(i.type, i.shape) for i in session.get_inputs()}
    try:
        found = session.run(None, feed)
    except Exception as error:  # ONNX Runtime's own errors share no public base
        yield f"{path} does not run: {error}"
        return
    for output, value in zip(session.get_outputs(), found, strict=True):
        if len(value) != 1:
            yield f"{path} gives {output.name} of {len(value)} rows for one"
        if value.dtype.kind == "f" and path.name != RECOMMEND and not np.isfinite(value).all():
            yield f"{path} gives {output.name} that is not finite"


def _zeros(kind: str, shape: list[Any]) -> Array:
    sizes = [n if isinstance(n, int) else 1 if at == 0 else 10 for at, n in enumerate(shape)]
    if kind == "tensor(string)":
        return np.full(sizes, "", object)
    if sizes == [1] and len(shape) == 1 and isinstance(shape[0], int):  # a count, such as k
        return np.ones(1, _TYPES[kind])
    return np.zeros(sizes, _TYPES[kind])


def _of_index(folder: Path, recommender: Recommender) -> Iterator[str]:
    index, vectors = recommender.index, recommender.item_vectors
    if index is None or vectors is None:
        return
    place = folder / "index"
    if len(index) != len(vectors):
        yield f"{place} is of {len(index)} items, but there are {len(vectors)}"
        return
    rows = np.unique(np.linspace(0, len(vectors) - 1, _SAMPLE).astype(np.int64))
    own = np.asarray(vectors[rows], np.float32)
    if not np.allclose(index.vectors(rows), own, rtol=_CLOSE, atol=_CLOSE):
        yield f"{place} holds other vectors than {folder / 'items/item_vectors.npy'}"
    retired = recommender.items.retired
    alive = np.ones(len(vectors), np.bool_) if retired is None else ~retired
    k = min(10, int(alive.sum()))
    found = index.search(own, k, allow=alive).positions
    best = np.argsort(np.where(alive, -(own @ np.asarray(vectors).T), np.inf), axis=1, kind="stable")[:, :k]
    share = np.mean([len(set(f) & set(b)) / k for f, b in zip(found.tolist(), best.tolist(), strict=True)])
    if k and share < (1 - 1 / _SAMPLE if index.kind == "exact" else _FOUND):
        yield f"{place} finds {share:.0%} of the nearest items of {len(rows)} items"


def _of_answer(folder: Path, recommender: Recommender) -> Iterator[str]:
    user = recommender.users.vocabulary.values[0] if len(recommender.users) else ""
    try:
        answer = recommender.recommend({"user_id": str(user)}, k=1, filter_seen=False)
    except Exception as error:  # ONNX Runtime's own errors share no public base
        yield f"{folder} does not answer: {error}"
        return
    if not len(answer) or not np.isfinite(np.asarray(answer["score"], np.float64)).all():
        yield f"{folder} answers user {user!r} with nothing that has a score"
