"""What need not be computed: values that are there already under another shape, type or name.

A model written per example and batched by `vmap` moves axes there and back, joins what it soon takes apart,
and guards lookups whose indices cannot be wrong. A node costs a third of a microsecond of every request.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from shortlist.export.graph import Dim, Graph, Shape, Value

_MOVES = ("Reshape", "Squeeze", "Unsqueeze")
_INT32 = np.iinfo(np.int32)


def same_elements(g: Graph, value: Value) -> Iterator[Value]:
    """The value, then what it was made of by moves of axes alone: the same elements in the same order."""
    while True:
        yield value
        kind, args, _ = g.origin(value)
        if kind not in _MOVES or args[0] is None:
            return
        value = args[0]


def shaped(g: Graph, value: Value, shape: Shape) -> Value | None:
    """The same elements in this shape, where they are there already."""
    return next((v for v in same_elements(g, value) if v.shape == tuple(shape)), None)


def narrow_rows(g: Graph, value: Value, shape: Shape) -> Value | None:
    """Rows of one number, without their axis looked up in the table without its own; else None."""
    kind, args, attributes = g.origin(value)
    if kind != "Gather" or attributes["axis"] or not isinstance(args[0], np.ndarray) or args[1] is None:
        return None
    if args[0].shape[1:] != (1,) or tuple(args[1].shape) != tuple(shape):
        return None
    return g.op("Gather", [g.reshape(args[0], args[0].shape[:1]), args[1]], shape, value.dtype, axis=0)


def keeps_order(shape: Shape, order: Sequence[int]) -> bool:
    """Whether axes in this order leave the elements in theirs: only axes of one element move. Where two sizes
    are not known, a transpose is the cheaper node."""
    moved = [axis for axis in order if shape[axis] != 1]
    return moved == sorted(moved) and sum(not isinstance(size, int) for size in shape) <= 1


def joined_part(g: Graph, value: Value, starts: Sequence[Dim], out: Shape) -> list[Value] | None:
    """The parts of a join that `value[starts : starts + out]` takes, where it takes whole ones; none else."""
    kind, parts, attributes = g.origin(value)
    if kind != "Concat":
        return None
    axis = attributes["axis"] % len(out)
    others = [a for a in range(len(out)) if a != axis]
    sizes = [part.shape[axis] for part in parts if part is not None]
    known = all(isinstance(size, int) for size in (*sizes, starts[axis], out[axis]))
    if not known or any(out[a] != value.shape[a] for a in others):
        return None
    ends = np.cumsum([0, *sizes]).tolist()
    start, stop = starts[axis], starts[axis] + out[axis]
    if start not in ends or stop not in ends or start == stop:
        return None
    return [part for part in parts[ends.index(start) : ends.index(stop)] if part is not None]


def bounds(g: Graph, value: Value) -> tuple[int, int] | None:
    """The smallest and largest number an integer value can hold, where an encoder has said so."""
    while True:
        kind, args, _ = g.origin(value)
        known = g.known_bounds(value)
        if known is not None or kind not in (*_MOVES, "Cast", "Transpose") or args[0] is None:
            return known
        if args[0].dtype.kind not in "iu":
            return None
        value = args[0]


def as_wide(g: Graph, index: Value) -> Value:
    """An index before it was made int32 for JAX, where that has changed no number."""
    kind, args, _ = g.origin(index)
    known = bounds(g, index)
    if kind != "Cast" or known is None or args[0] is None or args[0].dtype != np.dtype(np.int64):
        return index
    return args[0] if _INT32.min <= known[0] and known[1] <= _INT32.max else index
