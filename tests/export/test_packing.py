"""Weights in one file beside the graphs: stored once, read by ONNX Runtime, the answers the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from shortlist._typing import Array
from shortlist.export.builder import GraphBuilder
from shortlist.export.packing import pack, unpack

RNG = np.random.default_rng(0)
TABLE: Array = RNG.normal(size=(50, 8)).astype(np.float32)
OTHER: Array = RNG.normal(size=(8, 33)).astype(np.float32)
BOUNDS: Array = np.linspace(0, 1, 40)
SMALL: Array = np.arange(8, dtype=np.float32)
SLOTS: Array = np.array([3, 0, 49])


def lookup(*more: Array) -> bytes:
    """Rows of TABLE plus SMALL, times each of `more`."""
    g = GraphBuilder()
    rows = g.op("Gather", [TABLE, g.input("slots", np.int64, ("b",))], axis=0)
    value = g.op("Add", [rows, SMALL])
    for matrix in more:
        value = g.op("MatMul", [value, matrix])
    g.output("value", value)
    model: bytes = g.finish("lookup").SerializeToString()
    return model


def count() -> bytes:
    """How many of BOUNDS each number has passed, in double."""
    g = GraphBuilder()
    x = g.input("x", np.float64, ("b", 1))
    passed = g.cast(g.op("GreaterOrEqual", [x, BOUNDS[None]]), np.int64)
    g.output("count", g.op("ReduceSum", [passed, np.array([1])], ("b",), np.int64, keepdims=0))
    model: bytes = g.finish("count").SerializeToString()
    return model


def run(model: Any, **values: Array) -> Array:
    answer: Array = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, values)[0]
    return answer


def test_packed_graphs_open_by_path_and_answer_the_same(tmp_path: Path) -> None:
    graphs = {"narrow": lookup(), "wide": lookup(OTHER), "count": count()}
    packed, weights = pack(graphs)
    (tmp_path / "weights.bin").write_bytes(weights)
    given = {"narrow": {"slots": SLOTS}, "wide": {"slots": SLOTS}, "count": {"x": np.array([[0.5], [2.0]])}}
    for name, graph in packed.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(graph)
        onnx.checker.check_model(str(path), full_check=True)
        assert np.array_equal(run(str(path), **given[name]), run(graphs[name], **given[name]))


def test_a_weight_of_several_graphs_is_stored_once() -> None:
    packed, weights = pack({"narrow": lookup(), "wide": lookup(OTHER), "count": count()})
    assert len(weights) < TABLE.nbytes + OTHER.nbytes + BOUNDS.nbytes + 3 * 64
    places = {
        name: {
            t.name: {entry.key: entry.value for entry in t.external_data}
            for t in onnx.load_from_string(graph).graph.initializer
            if t.data_location == onnx.TensorProto.EXTERNAL
        }
        for name, graph in packed.items()
    }
    [table] = places["narrow"]
    assert places["narrow"][table] == places["wide"][table]
    for stored in places.values():
        for place in stored.values():
            assert place["location"] == "weights.bin"
            assert int(place["offset"]) % 64 == 0
            assert int(place["offset"]) + int(place["length"]) <= len(weights)


def test_small_weights_stay_and_the_file_does_not_depend_on_the_run() -> None:
    packed, weights = pack({"wide": lookup(OTHER)})
    inside = [t for t in onnx.load_from_string(packed["wide"]).graph.initializer if t.raw_data]
    assert [np.frombuffer(t.raw_data, np.float32).tolist() for t in inside] == [SMALL.tolist()]
    assert pack({"wide": lookup(OTHER)}) == (packed, weights)
    assert pack({}) == ({}, b"")


def test_a_table_with_zeros_after_it_is_the_same_table() -> None:
    def rows(table: Array) -> bytes:
        g = GraphBuilder()
        g.output("rows", g.op("Gather", [table, g.input("slots", np.int64, ("b",))], axis=0))
        return g.finish("rows").SerializeToString()

    longer = np.concatenate([TABLE, np.zeros((3, 8), np.float32)])
    graphs = {"short": rows(TABLE), "long": rows(longer)}
    packed, weights = pack(graphs)
    assert len(weights) == longer.nbytes and pack(dict(reversed(graphs.items())))[1] == weights
    whole = unpack(packed, weights)
    assert {n: onnx.load_from_string(m) for n, m in whole.items()} == {
        n: onnx.load_from_string(m) for n, m in graphs.items()
    }


def test_256_bytes_move_and_fewer_stay() -> None:
    def adding(number: Array) -> bytes:
        g = GraphBuilder()
        g.output("sum", g.op("Add", [g.input("x", np.float32, ("b", 1)), number]))
        return bytes(g.finish("sum").SerializeToString())

    graphs = {
        "moved": adding(np.arange(64, dtype=np.float32)),
        "kept": adding(np.arange(63, dtype=np.float32)),
    }
    packed, weights = pack(graphs)
    assert len(weights) == 256 and packed["kept"] == graphs["kept"] and packed["moved"] != graphs["moved"]
