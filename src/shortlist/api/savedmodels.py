"""SavedModels of what was fitted, or of a bundle that keeps its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from shortlist import bundle
from shortlist._typing import MISSING_INT, Array, Columns
from shortlist.api.fitting import Fitted
from shortlist.api.keeping import Start
from shortlist.data.coded import expanded
from shortlist.export import savedmodel
from shortlist.features.encoder import Side
from shortlist.features.fitted import missing
from shortlist.models.ensemble import unstacked
from shortlist.pipeline.questions import candidate_columns, query_columns
from shortlist.pipeline.recommender import Recommender

_ROWS = 62
"""Rows of each side that every SavedModel is compared on; 64 with what is unknown and what is missing."""


def write_savedmodel(start: Fitted | str | Path, folder: str | Path, *, part: str = "") -> Path:
    """Write a TensorFlow SavedModel that `tf.saved_model.load` calls with raw strings; returns its folder.

    Args:
        start: a fitted model, or a bundle (or a run's folder) that keeps its training in `train/`.
        folder: what is there already must be a SavedModel, and is replaced.
        part: of a bundle whose two stages were trained apart, "retrieval" or "ranking".

    The loaded model is called with a dictionary of columns: user_id, item_id (or title or movie_title, where
    items have titles), timestamp where the model reads it, and every column that is not stored of users and
    items; docs/guides/other-languages.md lists its signatures. Raises MissingExtra without TensorFlow,
    BundleError where a bundle keeps nothing of its training, and ExportError where the model cannot be
    written, or answers otherwise than in JAX.
    """
    savedmodel.tensorflow()  # said before a bundle is read
    begun = Start.of(start, part)
    recommender = start.recommender() if isinstance(start, Fitted) else bundle.load(start)
    net, tables = unstacked(begun.carried.net, begun.carried.tables, begun.training.members)
    queries, candidates = _rows(recommender)
    encoder = begun.kept.encoder
    savedmodel.write(
        Path(folder).absolute(),
        net,
        tables,
        encoder,
        items=recommender.items,
        users=recommender.users,
        queries=_probed(queries, encoder.query),
        candidates=_probed(candidates, encoder.candidate),
    )
    return Path(folder)


def _rows(recommender: Recommender) -> tuple[Columns, Columns]:
    """Queries of the first users, and the first items, as a request that names nothing else has them."""
    users = np.arange(_ROWS) % max(1, len(recommender.users))
    items = np.arange(_ROWS) % len(recommender.items)
    ids = np.array([*recommender.users.vocabulary.values, None], object)[:-1]
    schema, known = recommender.schema, recommender.users
    query: Any = query_columns(schema, known, {"user_id": ids[users]}, users, recommender.events)
    candidate: Any = candidate_columns(recommender.items, schema, {}, items, recommender.raters)
    return query, candidate


def _probed(columns: Columns, side: Side) -> Columns:
    """The columns a side reads with a row of unknown and one of missing values."""
    return {name: _with_strangers(expanded(columns[name])) for name in side.columns}


def _with_strangers(column: Array) -> Array:
    unknown: Any = "zz never seen \u00e9"
    gone: Any = ""
    if column.dtype.kind != "O":
        # just outside the known range: further out, float32 itself blurs the comparison
        known = column[~missing(column)]
        unknown = known.max() + 1 if known.size else 1
        gone = MISSING_INT if column.dtype.kind == "i" else np.nan
    rows = np.empty((2, *column.shape[1:]), column.dtype)
    rows[0], rows[1] = unknown, gone
    return np.concatenate([column, rows])
