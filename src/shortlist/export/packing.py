"""The weights of several graphs in one file beside them, each stored once."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

import onnx

LOCATION = "weights.bin"
"""The file a packed graph reads its weights from, relative to the graph's own folder."""

SMALLEST = 256
"""Bytes from which an initialiser moves; smaller ones (shapes, bounds) stay: shape inference reads them."""

_ALIGNMENT = 64  # bytes: a cache line, and what vector instructions want


def pack(graphs: Mapping[str, bytes]) -> tuple[dict[str, bytes], bytes]:
    """The graphs with their weights moved out, and the content of the file `weights.bin` they then read.

    Every numeric initialiser of at least 256 bytes moves. What several graphs (or one graph under several
    names) hold with the same bytes is stored once, at a multiple of 64 bytes. The file belongs into the
    folder of the graphs; any ONNX Runtime opens them there by path. Texts cannot be external in ONNX and
    stay.
    """
    weights = bytearray()
    places: dict[bytes, int] = {}
    packed: dict[str, bytes] = {}
    for name, graph in graphs.items():
        model = onnx.load_from_string(graph)
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) >= SMALLEST:
                refer(tensor, LOCATION, _placed(tensor.raw_data, weights, places), len(tensor.raw_data))
        packed[name] = model.SerializeToString()
    return packed, bytes(weights)


def unpack(graphs: Mapping[str, bytes], weights: bytes) -> dict[str, bytes]:
    """What was packed, as it was: graphs that hold their weights again. Others are given back."""
    whole: dict[str, bytes] = {}
    for name, graph in graphs.items():
        model = onnx.load_from_string(graph)
        for tensor in model.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                place = {entry.key: entry.value for entry in tensor.external_data}
                start, length = int(place["offset"]), int(place["length"])
                tensor.raw_data = bytes(weights[start : start + length])
                tensor.ClearField("data_location")
                tensor.ClearField("external_data")
        whole[name] = model.SerializeToString()
    return whole


def _placed(content: bytes, weights: bytearray, places: dict[bytes, int]) -> int:
    """Where the content stands in `weights`, after adding it if it is new."""
    key = sha256(content).digest()
    if key not in places:
        weights.extend(bytes(-len(weights) % _ALIGNMENT))
        places[key] = len(weights)
        weights.extend(content)
    return places[key]


def refer(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    """Let a tensor stand in a file instead of in the graph."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
