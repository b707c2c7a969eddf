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
import shutil
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from shortlist._typing import Array, Columns, Floats
from shortlist.errors import ExportError, MissingExtra
from shortlist.export.savedmodel_call import Call
from shortlist.export.savedmodel_features import Features, Tensor, Tensors
from shortlist.features.encoder import Encoder
from shortlist.models.build import Tables
from shortlist.models.ensemble import Trained, represent
from shortlist.models.scorer import JaxScorer
from shortlist.state.catalogue import Items
from shortlist.state.users import Users

TOLERANCE = 1e-5
"""The largest difference from JAX a signature may show, relative above 1."""
SIGN = "saved_model.pb"
_PLATFORMS = ("cpu", "cuda", "tpu")


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
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        program = Program(tf, net, tables, encoder)
        module, signatures = program.module(Call(tf, encoder, items, users))
        tf.saved_model.save(module, str(fresh), signatures=signatures)
        _compare(tf, fresh, JaxScorer(net, tables, encoder), queries, candidates)
        fresh.chmod(0o755)  # mkdtemp's is private
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def tensorflow() -> Any:
    """TensorFlow, quiet. Raises MissingExtra without it."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return import_module("tensorflow")
    except ModuleNotFoundError as error:
        raise MissingExtra(str(error.name), "tensorflow", "writing a SavedModel") from error


class Program:
    """A model's functions over tensors. Parameters are variables, one each however many functions read it."""

    def __init__(self, tf: Any, net: Trained, tables: Tables, encoder: Encoder) -> None:
        self.tf, self.net, self.tables, self.encoder = tf, net, tables, encoder
        self.features = Features(tf)
        self._variables: dict[int, tuple[jax.Array, Any]] = {}

    def module(self, call: Call) -> tuple[Any, dict[str, Any]]:
        """What `tf.saved_model.save` saves, and its signatures."""
        encoder, numbers = self.encoder, self._aggregates()
        sides = {"query": encoder.query, "candidate": encoder.candidate}
        signatures = {
            name: self._function(self._side(name)).get_concrete_function(self.features.specs(side))
            for name, side in sides.items()
        }
        pair = self._function(self._pair())
        if self.net.heads:
            specs = self.features.specs(*sides.values()) | numbers
            heads = self._function(self._rank())
            signatures["rank"] = heads.get_concrete_function(specs)

        def called(given: Tensors) -> Any:
            outputs = pair(*call.columns(given), {name: given[name] for name in numbers})
            return call.as_in_tutorials(outputs)

        def served(given: Tensors) -> Tensors:
            return pair(*call.columns(given), {name: given[name] for name in numbers})  # type: ignore[no-any-return]

        module = self.tf.Module()
        module.__call__ = self._function(called)
        forms = [form | numbers for form in call.forms()]
        for form in forms:
            module.__call__.get_concrete_function(form)
        signatures["serving_default"] = self._function(served).get_concrete_function(forms[0])
        module.variables_ = [variable for _, variable in self._variables.values()]
        module.lookups = [*self.features.tables, *call.features.tables]
        return module, signatures

    def _function(self, f: Callable[..., Any]) -> Any:
        return self.tf.function(f, autograph=False)

    def _aggregates(self) -> dict[str, Any]:
        """Inputs for the numbers made of other events."""
        return {
            f"{name}_aggregates": self.tf.TensorSpec([None, width], "float32", name=f"{name}_aggregates")
            for name, width in aggregate_widths(self.net).items()
        }

    def _side(self, side: str) -> Callable[[Tensors], Tensors]:
        def compute(params: Any, inputs: Any) -> dict[str, jax.Array]:
            return _represented(*params, side, inputs)

        own = {name: table for name, table in self.tables.items() if name.startswith(f"{side}/")}
        dense = self._converted(compute, (self.net, own))
        fitted = getattr(self.encoder, side)
        return lambda columns: dense(self.features.encode(fitted, columns))  # type: ignore[no-any-return]

    def _rank(self) -> Callable[[Tensors], Tensors]:
        def compute(params: Any, inputs: Any) -> dict[str, jax.Array]:
            net, tables = params
            sides = (represent(net, tables, side, inputs[side]) for side in ("query", "candidate"))
            return _predicted(net, *sides, inputs["numbers"])

        dense = self._converted(compute, (self.net, self.tables))
        return lambda columns: dense(  # type: ignore[no-any-return]
            self._encoded(columns, columns, {name: columns[name] for name in self._aggregates()})
        )

    def _pair(self) -> Callable[[Tensors, Tensors, Tensors], Tensors]:
        """Columns of both sides -> outputs of heads [b, 1], by their names, and vectors [b, d]."""

        def compute(params: Any, inputs: Any) -> dict[str, jax.Array]:
            net, tables = params
            sides = {side: _represented(net, tables, side, inputs[side]) for side in ("query", "candidate")}
            representations = (found["representation"] for found in sides.values())
            heads = _predicted(net, *representations, inputs["numbers"]) if net.heads else {}
            vectors = {f"{s}_vector": found["vector"] for s, found in sides.items() if "vector" in found}
            return {name: x[:, None] for name, x in heads.items()} | vectors

        dense = self._converted(compute, (self.net, self.tables))
        return lambda query, candidate, numbers: dense(  # type: ignore[no-any-return]
            self._encoded(query, candidate, numbers)
        )

    def _encoded(self, query: Tensors, candidate: Tensors, numbers: Tensors) -> dict[str, Tensors]:
        return {
            "query": self.features.encode(self.encoder.query, query),
            "candidate": self.features.encode(self.encoder.candidate, candidate),
            "numbers": {name.removesuffix("_aggregates"): x for name, x in numbers.items()},
        }

    def _converted(self, f: Callable[[Any, Any], Any], params: Any) -> Callable[[Any], Any]:
        """A function of JAX over tensors, its parameters read from variables."""
        jax2tf = import_module("jax.experimental.jax2tf")
        arrays, rest = eqx.partition(params, eqx.is_array)
        leaves, form = jax.tree.flatten(arrays)
        variables = [self._variable(leaf) for leaf in leaves]

        def of_leaves(leaves: Any, inputs: Any) -> Any:
            return f(eqx.combine(jax.tree.unflatten(form, leaves), rest), inputs)

        def call(inputs: Any) -> Any:
            shapes = self.tf.nest.map_structure(lambda x: "b" + ", _" * (len(x.shape) - 1), inputs)
            dense = jax2tf.convert(
                of_leaves,
                polymorphic_shapes=[None, shapes],
                with_gradient=False,
                native_serialization_platforms=_PLATFORMS,
            )
            return dense(variables, inputs)

        return call

    def _variable(self, leaf: jax.Array) -> Any:
        known = self._variables.get(id(leaf))
        if known is None:  # the leaf is kept, so that its id stays its own
            known = leaf, self.tf.Variable(np.asarray(leaf), trainable=False)
            self._variables[id(leaf)] = known
        return known[1]


def aggregate_widths(net: Trained) -> dict[str, int]:
    """The numbers of each head that is given aggregates, by the head's name."""
    linear = {name: head.linear for name, head in net.heads.items() if head.linear is not None}
    return {name: int(layer.weight.shape[0]) for name, layer in linear.items()}


def _represented(net: Trained, tables: Tables, side: str, encoded: Any) -> dict[str, jax.Array]:
    representation = represent(net, tables, side, encoded)
    if net.spec.retrieval is None:
        return {"representation": representation}
    to_vector = net.query_vector if side == "query" else net.candidate_vector
    return {"representation": representation, "vector": jax.vmap(to_vector)(representation)}


def _predicted(net: Trained, query: jax.Array, candidate: jax.Array, numbers: Any) -> dict[str, jax.Array]:
    return jax.vmap(lambda q, c, a: net.predict(q, c, a))(query, candidate, numbers)


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
        sides = (expected[side]["representation"] for side in ("query", "candidate"))
        expected["rank"] = scorer.predict(*sides, numbers)
    for name, outputs in expected.items():
        read = signatures[name].structured_input_signature[1]
        for rows in (slice(0, num_rows), slice(0, 1)):
            given = {column: tensor(tf, both[column][rows], spec) for column, spec in read.items()}
            found = signatures[name](**given)
            for output, want in outputs.items():
                _require_equal(name, output, want[rows], found[output].numpy())


def tensor(tf: Any, column: Array, spec: Any) -> Tensor:
    """A raw column as a tensor of a signature's type."""
    return tf.constant(
        column.tolist() if column.dtype.kind == "O" else column, spec.dtype, shape=column.shape
    )


def _require_equal(signature: str, output: str, want: Array, have: Array) -> None:
    if want.shape != have.shape:
        raise ExportError(
            f"signature '{signature}' gives {output} of shape {have.shape}, JAX of shape {want.shape}"
        )
    if not np.isfinite(want).all():
        raise ExportError(
            f"the model gives {output} that is not finite, so signature '{signature}' cannot be checked",
            hint="look for a diverged training run",
        )
    difference = np.abs(have - want) / np.maximum(1, np.abs(want))
    largest = float(np.max(np.where(np.isnan(difference), np.inf, difference), initial=0))
    if largest > TOLERANCE:
        raise ExportError(
            f"signature '{signature}' differs from JAX by {largest:.2g} in {output}, more than {TOLERANCE:g}",
            hint="this is a bug of the export; a tower of your own may use an operation in an unusual way",
        )
