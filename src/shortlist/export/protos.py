"""ONNX messages: making, typing and pruning nodes, and the versions every graph is written for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSETS = {"": 21, "ai.onnx.ml": 4, "com.microsoft": 1}
IR_VERSION = 10


def make_node(kind: str, inputs: list[str], domain: str, attributes: Mapping[str, Any]) -> onnx.NodeProto:
    """A node whose outputs are still to be named; array attributes become tensors."""
    plain = {k: numpy_helper.from_array(v) if isinstance(v, np.ndarray) else v for k, v in attributes.items()}
    return helper.make_node(kind, inputs, [], domain=domain, **plain)


def value_info(name: str, dtype: np.dtype[Any], shape: Sequence[Any]) -> onnx.ValueInfoProto:
    """The ONNX declaration of a tensor."""
    dims = [d if isinstance(d, int) else str(d) for d in shape]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), dims)


def needed(nodes: Sequence[onnx.NodeProto], wanted: Iterable[str]) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes that `wanted` depends on, in order, and every name they read or that is wanted."""
    names, kept = set(wanted), []
    for node in reversed(nodes):
        if names.intersection(node.output):
            kept.append(node)
            names |= reads(node)
    return kept[::-1], names


def reads(node: onnx.NodeProto) -> set[str]:
    """Every name a node reads, its bodies included."""
    inner = (reads(n) for body in bodies(node) for n in body.node)
    return set(node.input).union(*inner)


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The nested graphs of a control-flow node."""
    return [a.g for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]


def domains(model: bytes) -> list[str]:
    """The operator domains a stored graph uses beside ONNX's own, such as "com.microsoft"."""
    return sorted(domains_of(onnx.load_from_string(model).graph.node) - {""})


def domains_of(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """The operator domains of nodes and of the graphs nested in them; "" is ONNX's own."""
    found: set[str] = set()
    for node in nodes:
        found |= {node.domain}.union(*(domains_of(body.node) for body in bodies(node)))
    return found


def infer_type(node: onnx.NodeProto, args: Mapping[str, Any]) -> tuple[list[int | str], np.dtype[Any]]:
    """The shape (sizes, or their symbols as text) and dtype of a node's first output.

    `args` holds arrays or tensors with a `shape` and `dtype` by name; small arrays may decide the shape.
    Raises ValueError when the shape depends on values or the operator is unknown.
    """
    probe = onnx.NodeProto()
    probe.CopyFrom(node)
    probe.output.append("result")
    types = {name: value_info(name, a.dtype, a.shape).type for name, a in args.items()}
    small = {k: v for k, v in args.items() if isinstance(v, np.ndarray) and v.size < 1024}
    data = {name: numpy_helper.from_array(a, name) for name, a in small.items()}
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    try:
        schema = onnx.defs.get_schema(node.op_type, OPSETS[node.domain], node.domain)
        found = onnx.shape_inference.infer_node_outputs(
            schema, probe, types, data, opset_imports=opsets, ir_version=IR_VERSION
        )
    except (KeyError, RuntimeError, onnx.defs.SchemaError) as error:
        raise ValueError(str(error)) from error
    tensor = found["result"].tensor_type if "result" in found else onnx.TypeProto.Tensor()
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in tensor.shape.dim]
    if not tensor.HasField("shape") or "" in dims:
        raise ValueError("the shape depends on values")
    return dims, np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
