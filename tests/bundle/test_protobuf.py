"""ONNX files read without `onnx`: the same as `onnx` reads, wherever a tensor or an operator hides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from shortlist.bundle.protobuf import Reference, operators, opsets, references
from shortlist.export.protos import domains

FLOAT = onnx.TensorProto.FLOAT


def outside(name: str, location: str, **more: int) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name=name, data_type=FLOAT, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def constant(location: str) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=outside("c", location))


def sparse(location: str) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=outside("s", location), indices=outside("i", location), dims=[9])


def body(*nodes: onnx.NodeProto, **more: Any) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), "g", [], [], **more)


def hidden() -> onnx.ModelProto:
    """A model whose tensors lie in files wherever the format lets them."""
    branch = helper.make_node("If", ["c"], ["y"], then_branch=body(constant("then")), else_branch=body())
    listed = onnx.NodeProto(op_type="Many", domain="my.own")
    listed.attribute.add(name="t", tensors=[outside("t", "tensors")], type=onnx.AttributeProto.TENSORS)
    listed.attribute.add(name="g", graphs=[body(constant("graphs"))], type=onnx.AttributeProto.GRAPHS)
    listed.attribute.add(name="s", sparse_tensor=sparse("attribute"))
    listed.attribute.add(name="ss", sparse_tensors=[sparse("attributes")])
    graph = body(branch, listed, initializer=[outside("w", "weights.bin", offset=64, length=16)])
    graph.sparse_initializer.append(sparse("sparse"))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("x", 3)])
    function = model.functions.add(name="f", domain="d", node=[constant("function")])
    function.attribute_proto.add(name="a", t=outside("a", "default"))
    model.training_info.add(algorithm=body(constant("training")))
    return model


def test_no_tensor_hides() -> None:
    found = references(hidden().SerializeToString())
    places = {"then", "tensors", "graphs", "attribute", "attributes", "sparse", "function", "default"}
    assert {r.location for r in found} == places | {"weights.bin", "training"}
    assert Reference("weights.bin", 64, 16) in found


def test_versions_and_operators() -> None:
    content = hidden().SerializeToString()
    assert opsets(content) == {"": 20, "x": 3}
    assert operators(content) == {"my.own": ["Many"]}


def test_operators_of_a_bundle_are_those_onnx_finds(saved: Path) -> None:
    for path in saved.rglob("*.onnx"):
        assert sorted(operators(path.read_bytes())) == sorted(domains(path.read_bytes()))
        model = onnx.load(path, load_external_data=False)
        assert opsets(path.read_bytes()) == {o.domain: o.version for o in model.opset_import}
        want = [
            {entry.key: entry.value for entry in tensor.external_data}
            for tensor in model.graph.initializer
            if tensor.external_data
        ]
        found = [
            {"location": r.location, "offset": str(r.offset), "length": str(r.length)}
            for r in references(path.read_bytes())
        ]
        assert found == want


def test_the_last_of_several_values_counts_and_names_are_there_once() -> None:
    """As in protobuf's own reader, of an entry; ONNX Runtime must not take another than is checked."""
    tensor = outside("w", "weights.bin")
    content = helper.make_model(body(initializer=[tensor])).SerializeToString()
    entry = tensor.external_data[0].SerializeToString()
    twice = entry + b"\x12" + bytes([len(b"../secret")]) + b"../secret"
    graph = onnx.ModelProto.FromString(content).graph
    plain = tensor.SerializeToString().replace(b"\x6a" + bytes([len(entry)]) + entry, b"")
    forged = plain + b"\x6a" + bytes([len(twice)]) + twice
    model = b"\x3a" + bytes([len(forged) + 2]) + b"\x2a" + bytes([len(forged)]) + forged
    assert onnx.ModelProto.FromString(model).graph.initializer[0].external_data[0].value == "../secret"
    assert [r.location for r in references(model)] == ["../secret"]
    graph.initializer[0].external_data.add(key="location", value="../secret")
    with pytest.raises(ValueError, match="names its location twice"):
        references(onnx.ModelProto(graph=graph).SerializeToString())


WHOLE = hidden().SerializeToString()


@given(st.integers(0, len(WHOLE) - 1), st.integers(0, 255), st.booleans())
def test_what_is_broken_is_a_value_error_or_read_as_protobuf_reads_it(at: int, byte: int, cut: bool) -> None:
    content = WHOLE[:at] if cut else WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]
    try:
        found = {r.location for r in references(content)}
    except ValueError:  # also of texts that are none
        return
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception:  # protobuf's own error
        return
    entries = [entry for tensor in model.graph.initializer for entry in tensor.external_data]
    named = {entry.value for entry in entries if entry.key == "location"}
    assert named <= found
