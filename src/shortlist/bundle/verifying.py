"""Whether a bundle is whole and answers: all that loading does not look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shortlist._typing import Array
from shortlist.bundle.graphs import RECOMMEND
from shortlist.bundle.manifest import AGAIN, MANIFEST
from shortlist.bundle.reading import UNREADABLE, checked, encoder_of, folder_of, inspect, load
from shortlist.errors import BundleCorrupted
from shortlist.pipeline.onnx_graphs import open_session
from shortlist.pipeline.onnx_scorer import OnnxScorer
from shortlist.pipeline.recommender import Recommender

_SAMPLE = 64  # items that the index is asked for
_CLOSE = 1e-3  # relative; vectors of an index may lie in other instructions than those of its file
_FOUND = 0.5  # of a sample's own ten best an approximate index must find
_TYPES = {"tensor(float)": "f4", "tensor(int64)": "i8", "tensor(double)": "f8"}


def verify(path: str | Path) -> dict[str, Any]:
    """Check a bundle as far as can be, and return its manifest.

    Beside every file's checksum: each encoder against its hash, each graph opened and run on a row, arrays of
    the lengths and types they must have, positions inside the catalogue, the index against the vectors, and
    one answer. Raises as `load` does, naming the file.
    """
    folder = folder_of(path)
    recommender = load(folder)
    try:
        for problem in _problems(folder, recommender):
            raise BundleCorrupted(problem, hint=AGAIN)
    except UNREADABLE as error:
        if isinstance(error, BundleCorrupted):
            raise
        raise BundleCorrupted(f"{folder}: {error}", hint=AGAIN) from error
    return inspect(folder)


def _problems(folder: Path, recommender: Recommender) -> Iterator[str]:
    yield from _of_arrays(folder, recommender)
    scorers = {id(s): s for s in (recommender.retriever, recommender.ranker) if isinstance(s, OnnxScorer)}
    for scorer in scorers.values():
        encoder = scorer.stored.folder / "encoder.json"
        if encoder_of(encoder.read_bytes()).content_hash != scorer.encoder_hash:
            yield f"{encoder}: not the encoder the manifest names"
        for side in ("query", "candidate"):
            read = {i.name for i in scorer.session(side).get_inputs()}
            if lacking := read - set(getattr(recommender.schema, side)):
                yield f"{folder / MANIFEST}: its schema lacks {sorted(lacking)}, which {side}.onnx reads"
        for graph in sorted(scorer.graphs):
            yield from _of_graph(scorer.stored.files[graph].path, scorer.session(graph))
    if checked(folder, content=False).recommend.graph is not None:
        yield from _of_graph(folder / RECOMMEND, open_session(folder / RECOMMEND, RECOMMEND))
    yield from _of_index(folder, recommender)
    yield from _of_answer(folder, recommender)


def _of_arrays(folder: Path, recommender: Recommender) -> Iterator[str]:
    items, users = recommender.items, recommender.users
    arrays: dict[str, tuple[Array, int | None, str, int]] = {
        "items/log_popularity.npy": (items.log_popularity, len(items), "f", 1),
        "users/seen_indptr.npy": (users.seen.indptr, len(users) + 1, "i", 1),
        "users/seen_indices.npy": (users.seen.indices, None, "i", 1),
    }
    for name in ("item_vectors", "item_representations"):
        if (array := getattr(recommender, name)) is not None:
            arrays[f"items/{name}.npy"] = (array, len(items), "f", 2)
    for name, (array, length, kind, ndim) in arrays.items():
        yield from _of_array(folder / name, array, length, kind, ndim)
    for place, owner in (("items", items), ("users", users)):
        for name, column in owner.columns.items():
            if len(column) != len(owner):
                yield f"{folder / place / 'columns'}: {name!r} has {len(column)} rows, expected {len(owner)}"
    indptr, indices = users.seen.indptr, users.seen.indices
    if indptr[0] != 0 or (np.diff(indptr) < 0).any() or indptr[-1] != len(indices):
        yield f"{folder / 'users/seen_indptr.npy'}: these are no rows of seen_indices.npy"
    if len(indices) and not 0 <= indices.min() <= indices.max() < len(items):
        yield f"{folder / 'users/seen_indices.npy'} names item {indices.max()} of {len(items)}"


def _of_array(path: Path, array: Array, length: int | None, kind: str, ndim: int) -> Iterator[str]:
    if array.dtype.kind != kind or array.ndim != ndim:
        kinds = f"{array.dtype} in {array.ndim} dimensions"
        yield f"{path} holds {kinds}, expected kind {kind!r} in {ndim}"
    if length is not None and len(array) != length:
        yield f"{path} has {len(array)} rows, expected {length}"
    if kind == "f" and not np.isfinite(array).all():
        yield f"{path} holds numbers that are not finite"


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
