"""The graph `recommend` beside the recommender it was made of: the same questions, the same answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime

from shortlist._typing import Floats
from shortlist.errors import ExportError
from shortlist.export.packing import LOCATION
from shortlist.export.parity import require_same_answers
from shortlist.export.probing import UNKNOWN
from shortlist.index.rows import Rows
from shortlist.pipeline.asking import recommend_inputs
from shortlist.pipeline.recommender import Recommender
from shortlist.state.storage import save_array

_KNOWN = 3  # users asked about, beside one whom nobody knows


def whole(vectors: Any) -> Floats:
    """Vectors or representations of all items as one array, whatever holds them."""
    array: Floats = vectors.vectors(np.arange(len(vectors))) if isinstance(vectors, Rows) else vectors
    return array


def check_answers(recommender: Recommender, graph: bytes, weights: Mapping[str, bytes]) -> None:
    """Ask the graph and the recommender about a few users, one of them unknown, for few items and for all.

    weights: of each part, what its packed graphs read. Raises ExportError naming the first difference, and
    where ONNX or its runtime refuse the graph.
    """
    users = [*recommender.users.vocabulary.values[:_KNOWN], UNKNOWN]
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
