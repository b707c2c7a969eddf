"""Finished graphs with their tables in fewer bits: bfloat16, or int8 with one scale a row.

Only what a lookup reads is rewritten. The small table stays as it is in memory and what was looked up becomes
float32, a few rows a request; nothing of it can be folded into a large constant when a session opens. Tables
of fewer than `NARROWEST` numbers a row (biases) and dense weights keep float32: there is nothing to save.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from shortlist._typing import Array, Floats
from shortlist.errors import ExportError, did_you_mean
from shortlist.export.protos import bodies

WeightType: TypeAlias = Literal["float32", "bf16", "int8"]
WEIGHT_TYPES: tuple[str, ...] = get_args(WeightType)
NARROWEST = 4
"""Numbers a row from which a table is rewritten: with fewer the scale of a row takes what int8 saves."""

_LARGEST = np.float32(127)
_LEAST = np.float32(2.0**-149)  # the smallest scale there is


def lowered(graph: bytes, weights: WeightType) -> bytes:
    """A finished graph, its weights inside, with every table it looks rows up in as `weights` says.

    float32 gives the graph back. Raises ExportError for another word.
    """
    if weights not in WEIGHT_TYPES:
        raise ExportError(
            f"weights cannot be {weights!r}, only {', '.join(WEIGHT_TYPES)}",
            hint=did_you_mean(weights, WEIGHT_TYPES),
        )
    if weights == "float32":
        return graph
    model = onnx.load_from_string(graph)
    tables = _tables(model.graph)
    store = {name: _STORED[weights](name, array) for name, array in tables.items()}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        nodes += _lookup(node, weights) if _is_lookup(node) and node.input[0] in tables else [node]
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in tables]
    for field, values in (("node", nodes), ("initializer", [*kept, *(t for s in store.values() for t in s)])):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(values)
    result: bytes = model.SerializeToString()
    return result


def as_bf16(values: Floats) -> Array:
    """The bits of the nearest bfloat16s, ties to even: uint16, of the same shape."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def as_int8(values: Floats) -> tuple[Array, Floats]:
    """int8 [n, d] and a float32 scale a row [n, 1], whose product is nearest; 1 for a row of zeros."""
    largest = np.abs(values).max(axis=1, keepdims=True, initial=0).astype(np.float32)
    scale = np.where(largest > 0, np.maximum(largest / _LARGEST, _LEAST), np.float32(1)).astype(np.float32)
    return np.clip(np.rint(values / scale), -_LARGEST, _LARGEST).astype(np.int8), scale


def _is_lookup(node: onnx.NodeProto) -> bool:
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    return node.op_type == "Gather" and not node.domain and axis == 0


def _tables(graph: onnx.GraphProto) -> dict[str, Floats]:
    """The float32 tables [n, d] that nothing but lookups of rows reads."""
    reads = _reads(graph)
    lookups = Counter(node.input[0] for node in graph.node if _is_lookup(node))
    return {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if lookups[tensor.name] == reads[tensor.name] > 0
        and tensor.data_type == TensorProto.FLOAT
        and len(tensor.dims) == 2
        and tensor.dims[1] >= NARROWEST
        and tensor.dims[0] > 1
    }


def _reads(graph: onnx.GraphProto) -> Counter[str]:
    """How often each name is read, in nested graphs too."""
    found = Counter(name for node in graph.node for name in node.input)
    found.update(output.name for output in graph.output)
    for node in graph.node:
        for body in bodies(node):
            found += _reads(body)
    return found


def _stored_bf16(name: str, table: Floats) -> list[onnx.TensorProto]:
    raw = as_bf16(table).astype("<u2").tobytes()
    return [helper.make_tensor(name, TensorProto.BFLOAT16, table.shape, raw, raw=True)]


def _stored_int8(name: str, table: Floats) -> list[onnx.TensorProto]:
    small, scale = as_int8(table)
    return [numpy_helper.from_array(small, name), numpy_helper.from_array(scale, f"{name}.scale")]


_STORED: dict[str, Any] = {"bf16": _stored_bf16, "int8": _stored_int8}


def _lookup(node: onnx.NodeProto, weights: str) -> list[onnx.NodeProto]:
    """A lookup in a rewritten table, giving what the lookup gave."""
    table, index, result = node.input[0], node.input[1], node.output[0]
    small, wide, scale = (f"{result}.{part}" for part in ("small", "wide", "scale"))
    last = result if weights == "bf16" else wide
    nodes = [
        helper.make_node("Gather", [table, index], [small], axis=0),
        helper.make_node("Cast", [small], [last], to=TensorProto.FLOAT),
    ]
    if weights == "int8":
        nodes += [
            helper.make_node("Gather", [f"{table}.scale", index], [scale], axis=0),
            helper.make_node("Mul", [wide, scale], [result]),
        ]
    return nodes
