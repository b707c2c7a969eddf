"""A trained model's functions over tensors: its dense part as jax2tf makes it of JAX, behind its features."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import equinox as eqx
import jax
import numpy as np

from shortlist.export.savedmodel_call import Call
from shortlist.export.savedmodel_features import Features, Tensors
from shortlist.features.encoder import Encoder
from shortlist.models.build import Tables
from shortlist.models.ensemble import Trained, represent

_PLATFORMS = ("cpu", "cuda", "tpu")


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
            outputs: Tensors = pair(*call.columns(given), {name: given[name] for name in numbers})
            return call.as_in_tutorials(outputs)

        def served(given: Tensors) -> Tensors:
            outputs: Tensors = pair(*call.columns(given), {name: given[name] for name in numbers})
            return outputs

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
            net, tables = params
            return _represented(net, tables, side, inputs)

        own = {name: table for name, table in self.tables.items() if name.startswith(f"{side}/")}
        dense = self._converted(compute, (self.net, own))
        fitted = getattr(self.encoder, side)
        return lambda columns: dense(self.features.encode(fitted, columns))

    def _rank(self) -> Callable[[Tensors], Tensors]:
        def compute(params: Any, inputs: Any) -> dict[str, jax.Array]:
            net, tables = params
            query, candidate = (represent(net, tables, s, inputs[s]) for s in ("query", "candidate"))
            return _predicted(net, query, candidate, inputs["numbers"])

        dense = self._converted(compute, (self.net, self.tables))
        return lambda columns: dense(
            self._encoded(columns, columns, {name: columns[name] for name in self._aggregates()})
        )

    def _pair(self) -> Callable[[Tensors, Tensors, Tensors], Tensors]:
        """Columns of both sides -> outputs of heads [b, 1], by their names, and vectors [b, d]."""

        def compute(params: Any, inputs: Any) -> dict[str, jax.Array]:
            net, tables = params
            sides = {side: _represented(net, tables, side, inputs[side]) for side in ("query", "candidate")}
            query, candidate = (found["representation"] for found in sides.values())
            heads = _predicted(net, query, candidate, inputs["numbers"]) if net.heads else {}
            vectors = {f"{s}_vector": found["vector"] for s, found in sides.items() if "vector" in found}
            return {name: x[:, None] for name, x in heads.items()} | vectors

        dense = self._converted(compute, (self.net, self.tables))
        return lambda query, candidate, numbers: dense(self._encoded(query, candidate, numbers))

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
