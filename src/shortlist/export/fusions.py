"""Several nodes that are one operator, found from the last of them: fewer nodes, and faster ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from shortlist.export.graph import Graph, Ref, Value


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
