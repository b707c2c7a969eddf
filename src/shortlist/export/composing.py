"""A graph made of finished graphs and nodes between them: by `onnx` alone, so that a bundle is enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from shortlist._typing import Array
from shortlist.errors import ExportError
from shortlist.export.packing import refer
from shortlist.export.protos import IR_VERSION, OPSETS, bodies, domains_of, make_node


class Composition:
    """Nodes named one by one; a value is the name of a tensor. Equal constants are stored once."""

    def __init__(self) -> None:
        self.inputs: dict[str, onnx.ValueInfoProto] = {}
        self.outputs: list[onnx.ValueInfoProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self._tensors: dict[str, onnx.TensorProto] = {}

    def input(self, declared: onnx.ValueInfoProto) -> str:
        """An input, once. ExportError where two of one name are of different types."""
        known = self.inputs.setdefault(declared.name, declared)
        if known.type.tensor_type.elem_type != declared.type.tensor_type.elem_type:
            raise ExportError(
                f"input {declared.name!r} is of one type to one model and of another to the other",
                hint="rename one of the columns",
            )
        return str(declared.name)

    def output(self, declared: onnx.ValueInfoProto, value: str) -> None:
        """A result under the name callers will see."""
        if declared.name in self.inputs:
            raise ExportError(
                f"{declared.name!r} is both an input and a result", hint="rename the query column"
            )
        self.nodes.append(helper.make_node("Identity", [value], [declared.name]))
        self.outputs.append(declared)

    def __call__(self, kind: str, *inputs: str | Array, domain: str = "", **attributes: Any) -> str:
        """The first result of a new node."""
        return self.many(1, kind, *inputs, domain=domain, **attributes)[0]

    def many(
        self, count: int, kind: str, *inputs: str | Array, domain: str = "", **attributes: Any
    ) -> list[str]:
        """The results of a new node; inputs are values, or arrays that become constants."""
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        node = make_node(kind, names, domain, attributes)
        node.output.extend(f"{kind}_{len(self.nodes)}_{place}" for place in range(count))
        self.nodes.append(node)
        return list(node.output)

    def constant(self, value: Array) -> str:
        """An array inside the graph."""
        tensor = numpy_helper.from_array(value)
        name = next((n for n, t in self._tensors.items() if _equal(t, tensor)), f"const_{len(self._tensors)}")
        return self._stored(name, tensor)

    def stored(self, location: str, value: Array) -> str:
        """An array that lies in an .npy file beside the graph, as `np.save` writes it."""
        header, descr = BytesIO(), np.lib.format.dtype_to_descr(value.dtype)
        about = {"descr": descr, "fortran_order": False, "shape": value.shape}
        np.lib.format.write_array_header_1_0(header, about)
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        tensor = onnx.TensorProto(data_type=kind, dims=value.shape)
        refer(tensor, location, header.tell(), value.nbytes)
        return self._stored(location, tensor)

    def _stored(self, name: str, tensor: onnx.TensorProto) -> str:
        tensor.name = name
        self._tensors[name] = tensor
        return name

    def inline(self, graph: bytes, folder: str, given: Mapping[str, str] | None = None) -> dict[str, str]:
        """The results of a finished graph by name.

        folder: where the weights it reads lie, and what its names start with. given: values for its inputs;
        without, they become inputs of the whole.
        """
        model = onnx.load_from_string(graph)
        start = f"{folder}/{model.graph.name}/"
        for declared in model.graph.input:
            value = self.input(declared) if given is None else given[declared.name]
            self.nodes.append(helper.make_node("Identity", [value], [start + declared.name]))
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = f"{folder}/{entry.value}"
            self._stored(start + tensor.name, tensor)
        _rename(model.graph.node, start)
        self.nodes.extend(model.graph.node)
        return {declared.name: start + declared.name for declared in model.graph.output}

    def finish(self, name: str, metadata: Mapping[str, str]) -> bytes:
        """The whole as one model."""
        graph = helper.make_graph(
            self.nodes, name, list(self.inputs.values()), self.outputs, list(self._tensors.values())
        )
        used = domains_of(self.nodes)
        opsets = [helper.make_opsetid(d, v) for d, v in OPSETS.items() if d == "" or d in used]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="shortlist"
        )
        helper.set_model_props(model, dict(metadata))
        content: bytes = model.SerializeToString()
        return content


def declared_inputs(graph: bytes) -> dict[str, onnx.ValueInfoProto]:
    """What a finished graph reads, by name."""
    return {declared.name: declared for declared in onnx.load_from_string(graph).graph.input}


def _equal(one: onnx.TensorProto, other: onnx.TensorProto) -> bool:
    same = one.data_type == other.data_type and list(one.dims) == list(other.dims)
    return same and one.raw_data == other.raw_data and list(one.string_data) == list(other.string_data)


def _rename(nodes: Iterable[onnx.NodeProto], start: str) -> None:
    """Put `start` before every name in the nodes and in the graphs nested in them."""
    for node in nodes:
        for names in (node.input, node.output):
            names[:] = [start + name if name else "" for name in names]
        for body in bodies(node):
            for named in (*body.input, *body.output, *body.initializer):
                named.name = start + named.name
            _rename(body.node, start)
