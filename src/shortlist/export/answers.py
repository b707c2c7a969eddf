"""The graph `recommend` beside the recommender it was made of: the same questions, the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime

from shortlist._typing import Array, Columns, Floats
from shortlist.errors import ExportError
from shortlist.export.packing import LOCATION
from shortlist.export.parity import require_same_answers
from shortlist.features.log import Standing
from shortlist.features.requests import Request
from shortlist.index.rows import Rows
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.shortlists import asked_columns
from shortlist.state.catalogue import Items
from shortlist.state.seen import Seen
from shortlist.state.storage import save_array

_KNOWN = 3  # users asked about, beside one whom nobody knows


def recommend_inputs(
    recommender: Recommender, queries: Request, k: int, *, filter_seen: bool = True
) -> Columns:
    """What the graph is to be given so that it answers as `Recommender.recommend(queries, k)` does.

    A request's time may be among it though the graph does not read it: lists of past items were made with it.
    """
    asked, items = recommender.read(queries), recommender.items
    at, count = Standing.of(asked.users, asked.times), len(asked)
    inputs: Columns = {n: np.asarray(column) for n, column in asked_columns(recommender, asked).items()}
    taken = recommender.taken(asked.users, asked.told)
    inputs["exclude"] = _ids(items, taken) if filter_seen else np.full((count, 0), "", object)
    bonus = recommender.bonus(at, asked.told)
    if bonus is not None:
        inputs["bonus"] = _ids(items, bonus[0])
    numbers = recommender.aggregator(at, asked.told, asked.columns)
    pairs = np.repeat(np.arange(count), len(items)), np.tile(np.arange(len(items)), count)
    for head, values in numbers(*pairs).items():
        inputs[f"{head}_aggregates"] = values.reshape(count, len(items), -1)
    return inputs | {"k": np.array([k])}


def whole(vectors: Any) -> Floats:
    """Vectors or representations of all items as one array, whatever holds them."""
    array: Floats = vectors.vectors(np.arange(len(vectors))) if isinstance(vectors, Rows) else vectors
    return array


def _ids(items: Items, chosen: Seen) -> Array:
    """The ids of each query's items, text [b, any] padded with ""."""
    counts, (rows, places) = np.diff(chosen.indptr), chosen.pairs()
    listed = np.full((len(counts), int(counts.max(initial=0))), "", object)
    listed[rows, np.arange(len(rows)) - chosen.indptr[rows]] = items.ids[places]
    return listed


def check_answers(recommender: Recommender, graph: bytes, weights: Mapping[str, bytes]) -> None:
    """Ask the graph and the recommender about a few users, one of them unknown, for few items and for all.

    weights: of each part, what its packed graphs read. Raises ExportError naming the first difference, and
    where ONNX or its runtime refuse the graph.
    """
    users = [*recommender.users.vocabulary.values[:_KNOWN], "zz never seen \u00e9"]
    with TemporaryDirectory() as folder:
        _lay(Path(folder), recommender, graph, weights)
        session = _opened(Path(folder) / "recommend.onnx")
        names = [declared.name for declared in session.get_outputs()]
        read = {declared.name for declared in session.get_inputs()}
        for k in (min(10, len(recommender.items)), len(recommender.items)):
            inputs = recommend_inputs(recommender, users, k)
            found = session.run(names, {name: x for name, x in inputs.items() if name in read})
            slate = recommender.recommend(users, k)
            for query in range(len(users)):
                want = slate.of(query).columns
                require_same_answers(want, {n: x[query] for n, x in zip(names, found, strict=True)})


def _lay(folder: Path, recommender: Recommender, graph: bytes, weights: Mapping[str, bytes]) -> None:
    """Write the graph and what it reads as they lie in a bundle."""
    (folder / "items").mkdir()
    save_array(folder / "items" / "log_popularity.npy", recommender.items.log_popularity)
    for name in ("item_vectors", "item_representations"):
        if (vectors := getattr(recommender, name)) is not None:
            save_array(folder / "items" / f"{name}.npy", whole(vectors))
    for part, content in weights.items():
        (folder / part).mkdir()
        (folder / part / LOCATION).write_bytes(content)
    (folder / "recommend.onnx").write_bytes(graph)


def _opened(path: Path) -> onnxruntime.InferenceSession:
    try:
        onnx.checker.check_model(str(path), full_check=True)
        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no public base
        raise ExportError(f"graph 'recommend' cannot be opened: {error}") from error
