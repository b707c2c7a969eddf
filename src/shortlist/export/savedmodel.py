"""A trained model as a TensorFlow SavedModel: `tf.saved_model.load(folder)` and call it with raw strings.

The dense part comes from JAX through jax2tf, features are TensorFlow's own operations. Signatures, each with
the batch size free:

query       raw query columns -> representation [b, r] (and vector [b, d] where the model retrieves)
candidate   raw candidate columns -> the same of items
rank        raw columns of both sides, row by row -> one output [b] a head
serving_default   user_id and an item's id or title -> outputs of heads [b, 1], vectors of both sides

Calling the model itself takes what `serving_default` takes and gives what a model of the tutorials gives.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from shortlist._typing import Array, Columns, Floats
from shortlist.bundle.placing import written
from shortlist.errors import ExportError, MissingExtra
from shortlist.export.parity import require_equal
from shortlist.export.savedmodel_call import Call
from shortlist.export.savedmodel_features import Tensor
from shortlist.export.savedmodel_program import Program, aggregate_widths
from shortlist.features.encoder import Encoder
from shortlist.models.build import Tables
from shortlist.models.ensemble import Trained
from shortlist.models.scorer import JaxScorer
from shortlist.state.catalogue import Items
from shortlist.state.users import Users

SIGN = "saved_model.pb"


def write(
    folder: Path,
    net: Trained,
    tables: Tables,
    encoder: Encoder,
    *,
    items: Items,
    users: Users,
    queries: Columns,
    candidates: Columns,
) -> None:
    """Write a SavedModel; what is already there must be one, and is replaced.

    Args:
        items, users: what is known of them, so that the model can be called with ids alone.
        queries, candidates: equally many raw rows of each side (unknown and missing values among them), on
            which every signature of the written model is compared with JAX.

    Raises MissingExtra without TensorFlow, and ExportError for a feature without a form, a difference of more
    than 1e-5, or a folder that holds something else.
    """
    tf = tensorflow()
    if folder.exists() and not (folder / SIGN).is_file():
        raise ExportError(
            f"{folder} is there already and is no SavedModel, so it is not replaced",
            hint="choose another path, or remove it",
        )
    program = Program(tf, net, tables, encoder)
    module, signatures = program.module(Call(tf, encoder, items, users))

    def into(fresh: Path) -> None:
        tf.saved_model.save(module, str(fresh), signatures=signatures)
        _compare(tf, fresh, JaxScorer(net, tables, encoder), queries, candidates)

    written(folder, into)


def tensorflow() -> Any:
    """TensorFlow, quiet. Raises MissingExtra without it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return import_module("tensorflow")
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "tensorflow", "writing a SavedModel") from error


# Parity with JAX


def _compare(tf: Any, folder: Path, scorer: JaxScorer, queries: Columns, candidates: Columns) -> None:
    """Every signature of the written model on those rows, on one alone, beside JAX."""
    signatures = tf.saved_model.load(str(folder)).signatures
    both = {**candidates, **queries}
    expected: dict[str, dict[str, Floats]] = {}
    for side, encode in (("query", scorer.encode_query), ("candidate", scorer.encode_candidate)):
        representation, vector = encode(both)
        expected[side] = {"representation": representation} | ({} if vector is None else {"vector": vector})
    rng = np.random.default_rng(0)
    widths = aggregate_widths(scorer.net)
    num_rows = len(next(iter(both.values())))
    numbers = {name: rng.normal(size=(num_rows, width)).astype(np.float32) for name, width in widths.items()}
    both |= {f"{name}_aggregates": values for name, values in numbers.items()}
    if scorer.net.heads:
        query, candidate = (expected[side]["representation"] for side in ("query", "candidate"))
        expected["rank"] = scorer.predict(query, candidate, numbers)
    for name, outputs in expected.items():
        read = signatures[name].structured_input_signature[1]
        for rows in (slice(0, num_rows), slice(0, 1)):
            given = {column: tensor(tf, both[column][rows], spec) for column, spec in read.items()}
            found = signatures[name](**given)
            for output, want in outputs.items():
                require_equal(name, output, want[rows], found[output].numpy())


def tensor(tf: Any, column: Array, spec: Any) -> Tensor:
    """A raw column as a tensor of a signature's type."""
    return tf.constant(
        column.tolist() if column.dtype.kind == "O" else column, spec.dtype, shape=column.shape
    )
