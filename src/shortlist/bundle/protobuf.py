"""What an ONNX file says of itself, read from its bytes: a loaded bundle needs no `onnx` for it.

Only what a bundle must know is read: versions of operators, which operators there are, and which other files
the tensors lie in. Field numbers are those of onnx.proto; protobuf's wire format is tag, then a varint, eight
or four bytes, or a length and so many bytes.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass

Content = bytes | mmap.mmap
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_NAME = b"location"  # the key of every reference to a file; where its letters are not, there is none

# message -> field -> message, for all that leads to a tensor or a node
_BELOW: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_BODIES = ("If", "Loop", "Scan", "SequenceMap")  # operators that hold graphs of their own


@dataclass(frozen=True)
class Reference:
    """Where a tensor lies outside of its graph; length None: to the end of the file."""

    location: str
    offset: int = 0
    length: int | None = None


def references(content: Content) -> list[Reference]:
    """Every place outside of the file that one of its tensors lies in. ValueError for what is no protobuf."""
    return [
        _reference(content, start, end)
        for kind, start, end in _messages(content, "model", 0, len(content))
        if kind == "tensor" and any(n == 13 for n, *_ in _fields(content, start, end))
    ]


def opsets(content: Content) -> dict[str, int]:
    """Version of the operators of each domain; ONNX's own is ""."""
    out = {}
    for number, _, start, end in _fields(content, 0, len(content)):
        if number == 8:
            found = {n: (a, b) for n, _, a, b in _fields(content, start, end)}
            out[_text(content, *found.get(1, (0, 0)))] = found.get(2, (0, 0))[0]
    return out


def operators(content: Content) -> dict[str, list[str]]:
    """The operators a model uses of other domains than ONNX's own, by domain."""
    found: dict[str, set[str]] = {}
    for domain, name in _nodes(content, "model", 0, len(content)):
        if domain not in ("", "ai.onnx"):
            found.setdefault(domain, set()).add(name)
    return {domain: sorted(names) for domain, names in sorted(found.items())}


def _messages(content: Content, kind: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Messages below one, as far as they may refer to a file."""
    if content.find(_NAME, start, end) < 0:
        return
    yield kind, start, end
    below = _BELOW.get(kind, {})
    for number, wire, a, b in _fields(content, start, end):
        if wire == _BYTES and number in below:
            yield from _messages(content, below[number], a, b)


def _nodes(content: Content, kind: str, start: int, end: int) -> Iterator[tuple[str, str]]:
    below = _BELOW.get(kind, {})
    found = list(_fields(content, start, end))
    if kind == "node":
        texts = {n: _text(content, a, b) for n, wire, a, b in found if wire == _BYTES and n in (4, 7)}
        yield texts.get(7, ""), texts.get(4, "")
        if texts.get(4) not in _BODIES:
            return
    for number, wire, a, b in found:
        if wire == _BYTES and below.get(number) not in (None, "tensor", "sparse"):
            yield from _nodes(content, below[number], a, b)


def _reference(content: Content, start: int, end: int) -> Reference:
    entries: dict[str, str] = {}
    for number, wire, a, b in _fields(content, start, end):
        if number == 13 and wire == _BYTES:
            pair = {n: _text(content, x, y) for n, w, x, y in _fields(content, a, b) if w == _BYTES}
            if pair.get(1) in entries:
                raise ValueError(f"a tensor names its {pair[1]} twice")
            entries[pair.get(1, "")] = pair.get(2, "")
    length = entries.get("length")
    return Reference(
        entries.get("location", ""),
        int(entries.get("offset", "0")),
        None if length is None else int(length),
    )


def _fields(content: Content, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type and, of bytes, where they lie; of a varint its value."""
    while at < end:
        tag, at = _varint(content, at, end)
        wire = tag & 7
        value, stop = 0, at
        if wire == _VARINT:
            value, at = _varint(content, at, end)
        elif wire == _BYTES:
            size, at = _varint(content, at, end)
            value, stop = at, at + size
            at = stop
        elif wire in (_EIGHT, _FOUR):
            at += 8 if wire == _EIGHT else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at > end:
            raise ValueError(f"a field ends at byte {at}, behind the {end} there are")
        yield tag >> 3, wire, value, stop


def _varint(content: Content, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError(f"a number at byte {at} does not end")


def _text(content: Content, start: int, end: int) -> str:
    return content[start:end].decode("utf-8")
