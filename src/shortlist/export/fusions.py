"""Several nodes that are one operator, found from the last of them: fewer nodes, and faster ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from shortlist.export.graph import Graph, Ref, Value
from shortlist.export.views import as_wide, bounds, same_elements


def gelu(g: Graph, factors: Sequence[Value]) -> Ref | None:
    """The product of `x` and `(1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2` as one Gelu, else None.

    The form of jax.nn.gelu's default; ONNX Runtime finds the exact one, by erf, itself.
    """
    for x, gate in (factors, factors[::-1]):
        tanh = _beside(g, "Add", _beside(g, "Mul", gate, 0.5), 1)
        total = _beside(g, "Mul", _first(g, "Tanh", tanh), math.sqrt(2 / math.pi))
        kind, parts, _ = g.origin(total) if total is not None else ("", (), {})
        if (
            isinstance(x, Ref)
            and kind == "Add"
            and any(_is_cube(g, p, x) for p in parts)
            and x in _refs(parts)
        ):
            return g.op("Gelu", [x], x.shape, x.dtype, approximate="tanh")
    return None


SMALL = 1 << 20
"""Bytes up to which a table may be stored again with a row of zeros."""


def masked_rows(g: Graph, known: Value, rows: Value, otherwise: Value) -> Ref | None:
    """Rows of a table where an index is not -1, else zeros, as one Gather, else None.

    ONNX counts -1 from the end, so that a last row of zeros stands for what is masked.
    """
    made, args, attributes = g.origin(rows)
    clipped = _held(g, args[1], args[0]) if made == "Gather" and not attributes["axis"] else None
    if clipped is None or not (isinstance(otherwise, np.ndarray) and not otherwise.any()):
        return None
    asked, limits = _compared(g, known)
    limit = bounds(g, clipped)
    if limit is None or limit[0] < -1 or asked is None or not _is(limits, 0):
        return None
    if as_wide(g, asked) != as_wide(g, clipped) or tuple(known.shape) != (*clipped.shape, 1):
        return None
    padded = np.concatenate([args[0], np.zeros_like(args[0][:1])])  # type: ignore[index]
    return g.op("Gather", [padded, as_wide(g, clipped)], rows.shape, rows.dtype, axis=0)


def _held(g: Graph, index: Value | None, table: Value | None) -> Ref | None:
    """What was clipped to the rows of a small table of rows."""
    if index is None or not (isinstance(table, np.ndarray) and table.ndim == 2 and table.nbytes <= SMALL):
        return None
    kind, args, _ = g.origin(index)
    if kind != "Clip" or not isinstance(args[0], Ref):
        return None
    return args[0] if _is(args[1], 0) and _is(args[2], len(table) - 1) else None


def _compared(g: Graph, known: Value) -> tuple[Value | None, Value | None]:
    """a and b where a value is `a >= b`, moved or not."""
    for value in same_elements(g, known):
        kind, args, _ = g.origin(value)
        if kind == "GreaterOrEqual":
            return args[0], args[1]
    return None, None


def _refs(values: Sequence[Value | None]) -> list[Ref]:
    return [value for value in values if isinstance(value, Ref)]


def _is_cube(g: Graph, value: Value | None, x: Ref) -> bool:
    cube = _beside(g, "Mul", value, 0.044715)
    kind, args, _ = g.origin(cube) if cube is not None else ("", (), {})
    return kind == "Pow" and _refs(args) == [x] and _is(args[1], 3)


def _beside(g: Graph, kind: str, value: Value | None, constant: float) -> Ref | None:
    """What the operator `kind` made a value of beside this constant; None where it did not."""
    made, args, _ = g.origin(value) if value is not None else ("", (), {})
    if made == kind:
        for one, other in (args, args[::-1]):
            if _is(one, constant) and isinstance(other, Ref):
                return other
    return None


def _first(g: Graph, kind: str, value: Value | None) -> Value | None:
    """The argument of the operator `kind` that made a value."""
    made, args, _ = g.origin(value) if value is not None else ("", (), {})
    return args[0] if made == kind else None


def _is(value: Value | None, constant: float) -> bool:
    return (
        isinstance(value, np.ndarray)
        and value.size == 1
        and math.isclose(value.item(), constant, rel_tol=1e-6)
    )
