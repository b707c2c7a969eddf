"""The graph that is written to disk: inputs, hand-made nodes, lowered JAX functions and outputs in one place.

g = GraphBuilder()
user = g.input("user_id", "string", ("b",))
known = {"keys_strings": ["7", "42"], "values_int64s": [1, 2], "default_int64": 0}
ids = g.op("LabelEncoder", [user], domain="ai.onnx.ml", **known)
[rating] = g.lower(batched, params, {"user": ids})
g.output("rating", rating)
model = g.finish("rank", {"seed": "42"})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import helper, numpy_helper

from shortlist._typing import Array
from shortlist.errors import ExportError
from shortlist.export.graph import Dim, Graph, Ref, Value
from shortlist.export.primitives import walk
from shortlist.export.protos import IR_VERSION, OPSETS, domains_of, needed, value_info


class GraphBuilder(Graph):
    """One ONNX graph under construction. Symbolic sizes such as "b" mean the same in every part of it."""

    def __init__(self) -> None:
        super().__init__()
        self._inputs: dict[str, Ref] = {}
        self._outputs: dict[str, Ref] = {}

    def input(self, name: str, dtype: DTypeLike, shape: Sequence[int | str]) -> Ref:
        """Declare an input: `dtype` is "string" or a NumPy dtype, text in `shape` a size of run time."""
        self._claim(name)
        kind = np.dtype(object) if dtype == "string" else np.dtype(dtype)
        ref = self._inputs[name] = Ref(name, self.shape(shape), kind)
        self._locate(ref)
        return ref

    def output(self, name: str, value: Value) -> Ref:
        """Declare a result under the name callers will see."""
        self._claim(name)
        self.nodes.append(helper.make_node("Identity", [self.name(value)], [name]))
        ref = self._outputs[name] = Ref(name, tuple(value.shape), value.dtype)
        return ref

    def _claim(self, name: str) -> None:
        if name in self._store.taken:
            raise ExportError(f"the graph already has a value named '{name}'", hint="give it another name")
        self._store.taken.add(name)

    def lower(
        self, fn: Callable[[Any, Any], Any], params: Any, inputs: Mapping[str, Value], *, prefix: str = ""
    ) -> list[Ref]:
        """Trace `fn(params, inputs)` and replay it here; one Ref for each leaf of its result, in tree order.

        `fn` sees whole batches (wrap a model written per example in `jax.vmap`). `params` is any pytree, an
        Equinox module included: its arrays are stored under their path, after `prefix`. 64-bit inputs are
        cast to the 32-bit types JAX computes with, so integers must lie within int32.

        Raises UnsupportedPrimitive for a primitive without an ONNX form, and ExportError for a text input or
        a function that must know a symbolic size.
        """
        specs = {name: _traced(name, value) for name, value in inputs.items()}
        arrays, rest = eqx.partition(params, _is_array)
        try:
            closed = jax.make_jaxpr(lambda p, x: fn(eqx.combine(p, rest), x))(arrays, specs)
        except jax.errors.InconclusiveDimensionOperation as error:
            raise ExportError(
                f"the function needs to know a size that varies at run time: {str(error).splitlines()[0]}",
                hint="write it per example and batch it with jax.vmap; no branch may depend on a batch size",
            ) from error
        leaves = self._parameters(arrays, prefix) + [inputs[name] for name in sorted(inputs)]
        args = [self.cast(x, v.aval.dtype) for x, v in zip(leaves, closed.jaxpr.invars, strict=True)]
        results = walk(self, closed.jaxpr, closed.consts, args)
        return [self._ref(r, a.shape) for r, a in zip(results, closed.out_avals, strict=True)]

    def _parameters(self, arrays: Any, prefix: str) -> list[Value]:
        values: list[Value] = []
        for path, leaf in jax.tree_util.tree_flatten_with_path(arrays)[0]:
            value: Array = np.asarray(leaf)
            value = value.astype(jax.dtypes.canonicalize_dtype(value.dtype), copy=False)
            parts = [p for p in (prefix, jax.tree_util.keystr(path, simple=True, separator=".")) if p]
            if parts:
                self.suggest(value, ".".join(parts))
            values.append(value)
        return values

    def _ref(self, value: Value, shape: tuple[Dim, ...]) -> Ref:
        exact = self.expand(value, shape)
        return exact if isinstance(exact, Ref) else Ref(self.name(exact), tuple(shape), exact.dtype)

    def finish(self, name: str, metadata: Mapping[str, str] | None = None) -> onnx.ModelProto:
        """The checked model, without the nodes and weights that no output needs.

        Weights are embedded; equal arrays are one initialiser. Names follow parameter paths (anonymous
        constants their content), so that graphs which share parameters name them alike. The builder can go on
        afterwards.

        Raises ExportError when there is no output or ONNX's own checker refuses the graph.
        """
        if not self._outputs:
            raise ExportError(
                f"graph '{name}' has no output", hint="call output(name, value) before finish()"
            )
        nodes, names = needed(self.nodes, self._outputs)
        weights = {k: v for k, v in self._store.weights.items() if k in names}
        # The checker copies the model, which may exceed what a message can hold: large weights as inputs.
        _check(self._model(name, nodes, {k: v for k, v in weights.items() if v.size < 4096}, weights))
        model = self._model(name, nodes, weights, {})
        helper.set_model_props(model, dict(metadata or {}))
        return model

    def _model(
        self,
        name: str,
        nodes: list[onnx.NodeProto],
        stored: Mapping[str, Array],
        declared: Mapping[str, Array],
    ) -> onnx.ModelProto:
        """A model with `stored` weights inside and the rest of the `declared` ones as inputs."""
        inputs = [value_info(r.name, r.dtype, r.shape) for r in self._inputs.values()]
        inputs += [value_info(k, v.dtype, v.shape) for k, v in declared.items() if k not in stored]
        outputs = [value_info(r.name, r.dtype, r.shape) for r in self._outputs.values()]
        tensors = [numpy_helper.from_array(v, k) for k, v in stored.items()]
        graph = helper.make_graph(nodes, name, inputs, outputs, tensors)
        opsets = [helper.make_opsetid(d, v) for d, v in OPSETS.items() if d == "" or d in domains_of(nodes)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="shortlist"
        )


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def _traced(name: str, value: Value) -> jax.ShapeDtypeStruct:
    """What JAX sees of an input."""
    if value.dtype.kind not in "biuf":
        raise ExportError(
            f"input '{name}' of a lowered function holds {value.dtype}, expected numbers or truth values",
            hint="encode text with LabelEncoder nodes first",
        )
    dtype = jax.dtypes.canonicalize_dtype(value.dtype)
    return jax.ShapeDtypeStruct(value.shape, dtype)  # type: ignore[no-untyped-call]


def _check(model: onnx.ModelProto) -> None:
    """ONNX's checker with full shape inference."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"ONNX refuses graph '{model.graph.name}': {error}") from error
