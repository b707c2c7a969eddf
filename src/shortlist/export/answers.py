"""The graph `recommend` beside the recommender it was made of: the same questions, the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime

from shortlist._typing import Array, Bools, Columns
from shortlist.errors import ExportError
from shortlist.export.packing import LOCATION
from shortlist.export.parity import require_same_answers
from shortlist.features.log import Standing
from shortlist.features.requests import Request
from shortlist.pipeline.questions import query_columns, read_queries, request_times
from shortlist.pipeline.recommender import Recommender
from shortlist.state.storage import save_array

_KNOWN = 3  # users asked about, beside one whom nobody knows


def recommend_inputs(
    recommender: Recommender, queries: Request, k: int, *, filter_seen: bool = True
) -> Columns:
    """What the graph is to be given so that it answers as `Recommender.recommend(queries, k)` does."""
    columns = read_queries(queries, recommender.schema, recommender.users)
    users = recommender.users.indices(columns["user_id"])
    told = recommender.told(columns, users)
    given = query_columns(
        recommender.schema, recommender.users, columns, users, recommender.events, told=told
    )
    inputs: Columns = {name: np.asarray(column) for name, column in given.items()}
    at = Standing.of(users, request_times(recommender.users, columns, users))
    seen = recommender.users.seen.mask(users, len(recommender.items))
    if told is not None:
        seen = np.where(told.rows[:, None], told.seen(len(recommender.items)), seen)
    inputs["exclude"] = _ids(recommender, seen & filter_seen)
    had = recommender.had_before(at, told)
    if had is not None:
        inputs["bonus"] = _ids(recommender, had)
    count, num_items = len(users), len(recommender.items)
    rows, places = np.repeat(np.arange(count), num_items), np.tile(np.arange(num_items), count)
    for head, numbers in recommender.aggregator(at, told, columns)(rows, places).items():
        inputs[f"{head}_aggregates"] = numbers.reshape(count, num_items, -1)
    return inputs | {"k": np.array([k])}


def _ids(recommender: Recommender, chosen: Bools) -> Array:
    """The ids of the items chosen for each query [b, N], text [b, any] padded with ""."""
    listed = np.full((len(chosen), int(chosen.sum(axis=1).max(initial=0))), "", object)
    for row, places in zip(listed, chosen, strict=True):
        row[: places.sum()] = recommender.items.ids[places]
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
        for k in (min(10, len(recommender.items)), len(recommender.items)):
            found = session.run(names, recommend_inputs(recommender, users, k))
            slate = recommender.recommend(users, k)
            for query in range(len(users)):
                want = slate.of(query).columns
                require_same_answers(want, {n: x[query] for n, x in zip(names, found, strict=True)})


def _lay(folder: Path, recommender: Recommender, graph: bytes, weights: Mapping[str, bytes]) -> None:
    """Write the graph and what it reads as they lie in a bundle."""
    (folder / "items").mkdir()
    save_array(folder / "items" / "log_popularity.npy", recommender.items.log_popularity)
    for name in ("item_vectors", "item_representations"):
        if (array := getattr(recommender, name)) is not None:
            save_array(folder / "items" / f"{name}.npy", array)
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
