"""Tables in fewer bits: what a lookup gives is as near as the bits allow, and the table stays small."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from shortlist._typing import Array
from shortlist.errors import ExportError
from shortlist.export.builder import GraphBuilder
from shortlist.export.lowbits import as_bf16, as_int8, lowered
from shortlist.export.packing import pack, unpack

RNG = np.random.default_rng(0)
TABLE: Array = RNG.normal(size=(300, 16)).astype(np.float32)
TABLE[7] = 0
BIASES: Array = RNG.normal(size=(300, 1)).astype(np.float32)
DENSE: Array = RNG.normal(size=(16, 16)).astype(np.float32)
SLOTS: Array = np.array([[3, 7], [0, -1]])


def graph() -> bytes:
    """Rows of TABLE, of BIASES, and the first times DENSE, which is looked up too."""
    g = GraphBuilder()
    slots = g.input("slots", np.int64, ("b", 2))
    rows = g.op("Gather", [TABLE, slots], axis=0)
    g.output("rows", rows)
    g.output("biases", g.op("Gather", [BIASES, slots], axis=0))
    g.output("product", g.op("MatMul", [rows, DENSE]))
    g.output("dense", g.op("Gather", [DENSE, np.array([1, 2])], axis=0))
    return bytes(g.finish("lookup", {"kept": "yes"}).SerializeToString())


def run(model: bytes, **options: Any) -> list[Array]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"], **options)
    return list(session.run(None, {"slots": SLOTS}))


def bytes_of(model: bytes) -> int:
    return sum(len(t.raw_data) for t in onnx.load_from_string(model).graph.initializer)


@pytest.mark.parametrize(("kind", "share", "error"), [("bf16", 0.5, 2**-8), ("int8", 0.3125, 1.001 / 254)])
def test_a_table_takes_fewer_bytes_and_gives_nearly_the_same_rows(
    kind: Any, share: float, error: float
) -> None:
    small = lowered(graph(), kind)
    saved = bytes_of(graph()) - bytes_of(small)
    assert TABLE.nbytes - saved == pytest.approx(share * TABLE.nbytes, abs=1)
    onnx.checker.check_model(onnx.load_from_string(small), full_check=True)
    rows, biases, product, dense = run(small)
    largest = np.abs(TABLE[SLOTS]).max(axis=-1, keepdims=True)
    assert (np.abs(rows - TABLE[SLOTS]) <= error * largest).all()
    assert not np.array_equal(rows, TABLE[SLOTS]), "nothing was rewritten"
    assert np.array_equal(biases, BIASES[SLOTS]) and np.array_equal(dense, DENSE[[1, 2]])
    assert not rows[0, 1].any() and np.allclose(product, rows @ DENSE, atol=1e-5)
    assert onnx.load_from_string(small).metadata_props[0].key == "kept"


@pytest.mark.parametrize("kind", ["bf16", "int8"])
def test_what_onnx_runtime_makes_of_it_holds_no_wide_table(kind: Any, tmp_path: Any) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    run(lowered(graph(), kind), sess_options=options)
    kept = onnx.load(tmp_path / "optimised.onnx").graph.initializer
    wide = [t for t in kept if t.data_type == onnx.TensorProto.FLOAT and list(t.dims) == list(TABLE.shape)]
    assert not wide


def test_packing_and_unpacking_leave_a_graph_as_it_is() -> None:
    small = {kind: lowered(graph(), kind) for kind in ("float32", "bf16", "int8")}  # type: ignore[arg-type]
    packed, weights = pack(small)
    assert len(weights) < sum(map(bytes_of, small.values()))
    for kind, model in unpack(packed, weights).items():
        assert onnx.load_from_string(model) == onnx.load_from_string(small[kind])


def test_float32_is_left_alone_and_another_word_is_refused() -> None:
    assert lowered(graph(), "float32") == graph()
    with pytest.raises(ExportError, match="'int4', only float32, bf16, int8"):
        lowered(graph(), "int4")  # type: ignore[arg-type]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4))
def test_the_nearest_small_numbers(row: list[float]) -> None:
    values = np.array([row], np.float32)
    if np.abs(values).max() < 3e38:
        back = (as_bf16(values).astype(np.uint32) << 16).view(np.float32)
        assert (np.abs(back - values) <= np.maximum(np.abs(values) * 2**-8, 2**-133)).all()
    small, scale = as_int8(values)
    largest = float(np.abs(values).max())
    if largest > 1e-30:  # below, the scale itself has few bits
        error = np.abs(small.astype(np.float64) * scale - values)
        assert (error <= 0.501 * largest / 127).all()


def test_bfloat16_rounds_ties_to_even() -> None:
    # between 1 and its neighbours: a half step goes to the even one, a little more or less to the nearer
    values = 1 + np.array([0.5, 1.5, 0.49, 0.51]) * 2**-7
    assert (as_bf16(values.astype(np.float32)) - 0x3F80).tolist() == [0, 2, 0, 1]


def test_only_rows_of_wide_float32_tables_that_nothing_else_reads_are_rewritten() -> None:
    """Tables read along columns, in a body, as an output or by another domain stay; those of one row, of
    doubles, of cubes."""
    make, at = helper.make_node, np.array([1, 0])
    tables = {
        name: TABLE[:20] + i for i, name in enumerate(["columns", "body", "output", "foreign", "again"])
    }
    tables |= {"row": TABLE[:1], "double": TABLE.astype(np.float64), "cube": TABLE[:20].reshape(4, 5, 16)}
    floats, rows = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], tables.keys()
    bodies = {
        f"{branch}_branch": helper.make_graph([make("Identity", ["body"], ["y"])], branch, [], floats)
        for branch in ("then", "else")
    }
    nodes = [make("Gather", [name, "zeros" if name == "row" else "at"], [f"{name}s"]) for name in rows]
    nodes[0].attribute.append(helper.make_attribute("axis", 1))
    nodes += [
        make("If", ["yes"], ["if"], **bodies),
        make("Identity", ["again"], ["other"]),
        make("Gather", ["foreign", "at"], ["own"], domain="own"),
    ]
    numbers = tables | {"at": at, "zeros": 0 * at, "yes": np.array(True)}
    stored = [numpy_helper.from_array(array, name) for name, array in numbers.items()]
    graph = helper.make_graph(
        nodes, "kept", [], [helper.make_tensor_value_info("output", TensorProto.FLOAT, [20, 16])], stored
    )
    model = helper.make_model(graph)
    for kind in ("bf16", "int8"):
        assert onnx.load_from_string(lowered(model.SerializeToString(), kind)) == model  # type: ignore[arg-type]
    del graph.node[-2]  # what reads it besides
    [other] = [
        t
        for t in onnx.load_from_string(
            lowered(helper.make_model(graph).SerializeToString(), "bf16")
        ).graph.initializer
        if t.data_type == TensorProto.BFLOAT16
    ]
    assert other.name == "again"


def test_rows_of_the_smallest_numbers_keep_their_signs() -> None:
    """Their scale has few bits, or would be none."""
    small, scale = as_int8(np.array([[2.1e-43, -2.1e-43], [1e-44, 0]], np.float32))
    assert small[0].tolist() == [127, -127] and small[1, 0] > 0 and small[1, 1] == 0
    assert (scale > 0).all()
