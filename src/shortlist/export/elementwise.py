"""ONNX forms of the primitives that keep lazily broadcast values: elementwise arithmetic and moves of axes.

An elementwise rule receives arguments whose shapes broadcast together (not necessarily the jaxpr's full
shapes) and `out`, the broadcast shape and the dtype it must produce.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from shortlist.export.fusions import gelu, masked_rows
from shortlist.export.graph import Graph, Spec, Value
from shortlist.export.views import as_wide, narrow_rows, shaped

Params: TypeAlias = Mapping[str, Any]
Rule: TypeAlias = Callable[[Graph, Sequence[Value], Spec, Params], Value]


class NoForm(Exception):
    """This use of a supported primitive has no ONNX form; the message says which, `hint` the way round."""

    def __init__(self, use: str, hint: str) -> None:
        super().__init__(use)
        self.hint = hint


def chain(*kinds: str) -> Rule:
    """The operators one after the other, the first taking all arguments."""

    def rule(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
        for kind in kinds:
            args = [g.op(kind, args, *out)]
        return args[0]

    return rule


def by_type(boolean: str, number: str) -> Rule:
    """One operator for truth values, another for numbers."""
    return lambda g, args, out, params: g.op(boolean if out.dtype == bool else number, args, *out)


def _one(out: Spec) -> Value:
    return np.ones((), out.dtype)


def _maximum(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    if out.dtype == bool:
        return g.op("Or", args, *out)
    for zero, other in (args, args[::-1]):
        nothing = isinstance(zero, np.ndarray) and not zero.any()
        if nothing and out.dtype.kind == "f" and other.shape == out.shape:
            return g.op("Relu", [other], *out)
    return g.op("Max", args, *out)


def _integer_pow(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    if params["y"] == 2:
        return _square(g, args, out, params)
    return g.op("Pow", [args[0], np.array(params["y"], out.dtype)], *out)


def _square(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.op("Mul", [args[0], args[0]], *out)


def _exp2(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.op("Pow", [np.array(2, out.dtype), args[0]], *out)


def _erfc(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.op("Sub", [_one(out), g.op("Erf", args, *out)], *out)


def _log1p(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.op("Log", [g.op("Add", [args[0], _one(out)], *out)], *out)


def _expm1(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.op("Sub", [g.op("Exp", args, *out), _one(out)], *out)


def _not_equal(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.op("Not", [g.op("Equal", args, *out)], *out)


def _is_finite(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    size = g.op("Abs", args, args[0].shape, args[0].dtype)
    return g.op("Less", [size, np.array(np.inf, size.dtype)], *out)


def _clamp(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    low, x, high = args
    if low.shape == high.shape == ():
        return g.op("Clip", [x, low, high], *out)
    return g.op("Min", [g.op("Max", [low, x], *out), high], *out)


def _round(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    if int(params["rounding_method"]) == 1:  # to the nearest even, as ONNX does
        return g.op("Round", args, *out)
    size = g.op("Abs", args, *out)
    whole = g.op("Floor", [size], *out)
    rest = g.op("Sub", [size, whole], *out)  # exact, which size + 0.5 is not
    up = g.op("GreaterOrEqual", [rest, np.array(0.5, out.dtype)], out.shape, bool)
    return g.op("Mul", [g.op("Sign", args, *out), g.op("Add", [whole, g.cast(up, out.dtype)], *out)], *out)


def _at_least(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    x, bound = args
    if isinstance(bound, np.ndarray) and (wide := as_wide(g, x)) is not x:
        args = [wide, bound.astype(wide.dtype)]
    return g.op("GreaterOrEqual", args, *out)


def _select(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    which, result = args[0], args[1]
    if which.dtype == bool and (rows := masked_rows(g, which, args[2], result)) is not None:
        return rows
    for position, case in enumerate(args[2:], 1):
        hit = which
        if which.dtype != bool:
            hit = g.op("Equal", [which, np.array(position, which.dtype)], which.shape, bool)
        result = g.op("Where", [hit, case, result], *out)
    return result


def _remainder(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.op("Mod", args, *out, fmod=1)  # the sign of the dividend, as in C and in JAX


def _multiply(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return gelu(g, args) or g.op("Mul", args, *out)


def _convert(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.cast(args[0], out.dtype)


def _same(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return args[0]


_DIRECT = {
    "add": "Add", "add_any": "Add", "sub": "Sub", "div": "Div", "pow": "Pow", "neg": "Neg",
    "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "sqrt": "Sqrt", "exp": "Exp",
    "log": "Log", "logistic": "Sigmoid", "erf": "Erf", "sin": "Sin", "cos": "Cos", "tan": "Tan",
    "asin": "Asin", "acos": "Acos", "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "tanh": "Tanh",
    "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "eq": "Equal", "lt": "Less", "le": "LessOrEqual",
    "gt": "Greater", "eq_to": "Equal", "lt_to": "Less", "le_to": "LessOrEqual",
}  # fmt: skip

ELEMENTWISE: dict[str, Rule] = {
    **{name: chain(kind) for name, kind in _DIRECT.items()},
    "mul": _multiply,
    "ge": _at_least,
    "rsqrt": chain("Sqrt", "Reciprocal"),
    "not": by_type("Not", "BitwiseNot"),
    "and": by_type("And", "BitwiseAnd"),
    "or": by_type("Or", "BitwiseOr"),
    "xor": by_type("Xor", "BitwiseXor"),
    "min": by_type("And", "Min"),
    "max": _maximum,
    "ne": _not_equal,
    "integer_pow": _integer_pow,
    "square": _square,
    "exp2": _exp2,
    "erfc": _erfc,
    "log1p": _log1p,
    "expm1": _expm1,
    "is_finite": _is_finite,
    "clamp": _clamp,
    "round": _round,
    "rem": _remainder,
    "select_n": _select,
    "convert_element_type": _convert,
    "copy": _same,
    "copy_p": _same,
    "name": _same,
}


def _broadcast_in_dim(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    x, kept = args[0], params["broadcast_dimensions"]
    shape = [1] * len(out.shape)
    for axis, position in enumerate(kept):
        shape[position] = x.shape[axis]
    if isinstance(x, np.ndarray) or len(kept) == len(shape):
        return g.reshape(x, tuple(shape))
    if (there := shaped(g, x, tuple(shape))) is not None:
        return there
    added = np.array([axis for axis in range(len(shape)) if axis not in kept], np.int64)
    return g.op("Unsqueeze", [x, added], shape, x.dtype)


def _squeeze(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    x, dropped = args[0], params["dimensions"]
    kept = tuple(size for axis, size in enumerate(x.shape) if axis not in dropped)
    if isinstance(x, np.ndarray):
        return g.reshape(x, kept)
    if (there := shaped(g, x, kept)) is not None:
        return there
    if (rows := narrow_rows(g, x, kept)) is not None:
        return rows
    return g.op("Squeeze", [x, np.array(dropped, np.int64)], kept, x.dtype) if dropped else x


def _transpose(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.transpose(args[0], params["permutation"])


AXES: dict[str, Rule] = {"broadcast_in_dim": _broadcast_in_dim, "squeeze": _squeeze, "transpose": _transpose}
"""Rules for moves of axes; `out` is the jaxpr's full shape, of which only the rank is used."""
