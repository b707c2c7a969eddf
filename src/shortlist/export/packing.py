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
    names) hold with the same bytes is stored once, at a multiple of 64 bytes; so is a table that one of them
    reads with rows of zeros after it, and another without. The file belongs into the
    folder of the graphs; any ONNX Runtime opens them there by path. Texts cannot be external in ONNX and
    stay.
    """
    weights = bytearray()
    places: dict[bytes, int] = {}
    models = {name: onnx.load_from_string(graph) for name, graph in graphs.items()}
    moved = [t for m in models.values() for t in m.graph.initializer if len(t.raw_data) >= SMALLEST]
    longest: dict[bytes, int] = {}
    keys = [_key(tensor.raw_data) for tensor in moved]
    for key, tensor in zip(keys, moved, strict=True):
        longest[key] = max(longest.get(key, 0), len(tensor.raw_data))
    for key, tensor in zip(keys, moved, strict=True):
        length = len(tensor.raw_data)
        if key not in places:
            weights.extend(bytes(-len(weights) % _ALIGNMENT))
            places[key] = len(weights)
            weights.extend(tensor.raw_data + bytes(longest[key] - length))
        refer(tensor, LOCATION, places[key], length)
    return {name: model.SerializeToString() for name, model in models.items()}, bytes(weights)


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


def _key(content: bytes) -> bytes:
    """The same for contents that differ by zeros at their ends."""
    return sha256(content.rstrip(b"\0")).digest()


def refer(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    """Let a tensor stand in a file instead of in the graph."""
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
