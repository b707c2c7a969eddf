"""ONNX forms of the primitives that look across positions: products, slices, joins, reductions, orderings.

Every rule here receives arguments of exactly the jaxpr's shapes.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from shortlist.export.elementwise import NoForm, Params, Rule
from shortlist.export.graph import LONG, Dim, Graph, Ref, Shape, Spec, Value
from shortlist.export.views import joined_part

ManyRule: TypeAlias = Callable[[Graph, Sequence[Value], Sequence[Spec], Params], list[Value]]


# Products


@dataclass(frozen=True)
class _Contraction:
    """Axes of one factor of a product: shared with the other (batch), summed over, and free."""

    value: Value
    batch: tuple[int, ...]
    summed: tuple[int, ...]

    @property
    def free(self) -> tuple[int, ...]:
        bound = (*self.batch, *self.summed)
        return tuple(axis for axis in range(len(self.value.shape)) if axis not in bound)

    @property
    def free_shape(self) -> Shape:
        return tuple(self.value.shape[axis] for axis in self.free)


def _dot_general(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    (summed_x, summed_y), (batch_x, batch_y) = params["dimension_numbers"]
    x = _Contraction(g.cast(args[0], out.dtype), batch_x, summed_x)
    y = _Contraction(g.cast(args[1], out.dtype), batch_y, summed_y)
    known_left = isinstance(x.value, np.ndarray) and len(x.free) <= 1
    if not known_left and not len(y.free) > 1 >= len(x.free):
        return _product(g, x, y, out.dtype)
    # Weights go to the right, where MatMul broadcasts over any leading axes; the transpose usually cancels.
    shared, fx, fy = len(batch_x), len(x.free), len(y.free)
    axes = list(range(shared + fy + fx))
    back = axes[:shared] + axes[shared + fy :] + axes[shared : shared + fy]
    return g.transpose(_product(g, y, x, out.dtype), back)


def _product(g: Graph, x: _Contraction, y: _Contraction, dtype: np.dtype[Any]) -> Value:
    """x times y over (batch, free of x, free of y): a MatMul where the axes allow it, else an Einsum."""
    batch = tuple(x.value.shape[axis] for axis in x.batch)
    shape = (*batch, *x.free_shape, *y.free_shape)
    if len(x.summed) != 1 or len(y.free) > 1 or (batch and len(x.free) > 1):
        return g.op("Einsum", [x.value, y.value], shape, dtype, equation=_equation(x, y))
    left = g.transpose(x.value, (*x.batch, *x.free, *x.summed))
    right = g.transpose(y.value, (*y.batch, *y.summed, *y.free))
    rows, width = x.free_shape or (1,), left.shape[-1]
    left = g.reshape(left, (*batch, *rows, width))
    right = g.reshape(right, (*batch, width, *(y.free_shape or (1,))))
    return g.reshape(g.op("MatMul", [left, right], (*batch, *rows, right.shape[-1]), dtype), shape)


def _equation(x: _Contraction, y: _Contraction) -> str:
    letters = iter(string.ascii_lowercase)
    of_x = {axis: next(letters) for axis in range(len(x.value.shape))}
    shared = zip((*y.batch, *y.summed), (*x.batch, *x.summed), strict=True)
    of_y = {axis: of_x[other] for axis, other in shared}
    of_y |= {axis: next(letters) for axis in y.free}
    result = [of_x[a] for a in (*x.batch, *x.free)] + [of_y[a] for a in y.free]
    return f"{''.join(of_x.values())},{''.join(of_y[a] for a in sorted(of_y))}->{''.join(result)}"


def _convolution(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    if params["batch_group_count"] != 1 or any(step != 1 for step in params["lhs_dilation"]):
        raise NoForm("a transposed or batch-grouped convolution", "use a plain convolution")
    numbers = params["dimension_numbers"]
    before, after = zip(*params["padding"], strict=True)
    y = g.op(
        "Conv",
        [g.transpose(args[0], numbers.lhs_spec), g.transpose(args[1], numbers.rhs_spec)],
        [out.shape[axis] for axis in numbers.out_spec],
        out.dtype,
        pads=[*before, *after],
        strides=list(params["window_strides"]),
        dilations=list(params["rhs_dilation"]),
        group=params["feature_group_count"],
    )
    return g.transpose(y, np.argsort(numbers.out_spec))


# Slices and joins


def _slice(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    if set(params["strides"] or ()) <= {1}:
        parts = joined_part(g, args[0], params["start_indices"], out.shape)
        if parts is not None:
            return g.join(parts, g.origin(args[0])[2]["axis"] % len(out.shape))
    starts, stops = g.dims(params["start_indices"]), g.dims(params["limit_indices"])
    return g.slice(args[0], starts, stops, params["strides"] or (1,) * len(out.shape), out.shape)


def _reverse(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    back = np.isin(np.arange(len(out.shape)), params["dimensions"])
    ends = np.iinfo(np.int64)
    starts, stops = np.where(back, -1, 0), np.where(back, ends.min, ends.max)
    return g.slice(args[0], starts, stops, list(np.where(back, -1, 1)), out.shape)


def _pad(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    before, after, between = zip(*params["padding_config"], strict=True)
    if any(between):
        raise NoForm("padding between elements", "pad at the ends only")
    return g.op("Pad", [args[0], g.dims((*before, *after)), args[1]], *out)


def _split(g: Graph, args: Sequence[Value], outs: Sequence[Spec], params: Params) -> list[Value]:
    sizes = np.array(params["sizes"], np.int64)
    return list(g.ops("Split", [args[0], sizes], outs, axis=params["axis"]))


def _concatenate(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.join(args, params["dimension"])


def _stack(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    axis = params["axis"]
    parts = [g.reshape(x, (*x.shape[:axis], 1, *x.shape[axis:])) for x in args]
    return g.join(parts, axis)


def _unstack(g: Graph, args: Sequence[Value], outs: Sequence[Spec], params: Params) -> list[Value]:
    at = (np.array(position) for position in range(len(outs)))
    return [g.op("Gather", [args[0], i], *out, axis=params["axis"]) for i, out in zip(at, outs, strict=True)]


def _tile(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.op("Tile", [args[0], g.dims(params["reps"])], *out)


def _reshape(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.reshape(args[0], out.shape)


def _iota(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    axis = params["dimension"]
    length: Dim = out.shape[axis]
    stop = g.op("Squeeze", [g.dim(length)], (), LONG)
    numbers = g.cast(g.op("Range", [np.array(0), stop, np.array(1)], (length,), LONG), out.dtype)
    column = tuple(length if a == axis else 1 for a in range(len(out.shape)))
    return g.expand(g.reshape(numbers, column), out.shape)


def _size_as_value(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.cast(g.reshape(g.dim(params["dim"]), ()), out.dtype)


# Reductions and orderings


def _reduction(kind: str, via: DTypeLike | None = None) -> Rule:
    def rule(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
        x = args[0] if via is None else g.cast(args[0], via)
        reduced = g.op(kind, [x, np.array(params["axes"], np.int64)], out.shape, x.dtype, keepdims=0)
        return g.cast(reduced, out.dtype)

    return rule


def _arg_reduction(kind: str) -> Rule:
    def rule(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
        return g.cast(g.op(kind, args, out.shape, LONG, axis=params["axes"][0], keepdims=0), out.dtype)

    return rule


def _cumulative_sum(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    return g.op("CumSum", [args[0], np.array(params["axis"])], *out, reverse=int(params["reverse"]))


def _ordered(g: Graph, x: Value, k: int, axis: int, out: Spec, *, largest: bool) -> list[Ref]:
    """The k first of the order and their positions; equal values keep their order, as in JAX."""
    outs = [out, Spec(out.shape, LONG)]
    return g.ops("TopK", [x, np.array([k])], outs, axis=axis, largest=int(largest), sorted=1)


def _top_k(g: Graph, args: Sequence[Value], outs: Sequence[Spec], params: Params) -> list[Value]:
    values, positions = _ordered(g, args[0], params["k"], params.get("axis", -1), outs[0], largest=True)
    return [values, g.cast(positions, outs[1].dtype)]


def _sort(g: Graph, args: Sequence[Value], outs: Sequence[Spec], params: Params) -> list[Value]:
    axis = params["dimension"]
    length = outs[0].shape[axis]
    if params["num_keys"] != 1 or not isinstance(length, int):
        raise NoForm("a sort by several keys or along the batch", "sort by one key within each example")
    values, order = _ordered(g, args[0], length, axis, outs[0], largest=False)
    rest = [g.op("GatherElements", [x, order], x.shape, x.dtype, axis=axis) for x in args[1:]]
    return [values, *rest]


ARRAYS: dict[str, Rule] = {
    "dot_general": _dot_general,
    "conv_general_dilated": _convolution,
    "slice": _slice,
    "rev": _reverse,
    "pad": _pad,
    "concatenate": _concatenate,
    "stack": _stack,
    "tile": _tile,
    "reshape": _reshape,
    "iota": _iota,
    "dim_as_value": _size_as_value,
    "reduce_sum": _reduction("ReduceSum"),
    "reduce_max": _reduction("ReduceMax"),
    "reduce_min": _reduction("ReduceMin"),
    "reduce_prod": _reduction("ReduceProd"),
    "reduce_and": _reduction("ReduceMin", np.int32),
    "reduce_or": _reduction("ReduceMax", np.int32),
    "argmax": _arg_reduction("ArgMax"),
    "argmin": _arg_reduction("ArgMin"),
    "cumsum": _cumulative_sum,
}

MANY: dict[str, ManyRule] = {"top_k": _top_k, "sort": _sort, "split": _split, "unstack": _unstack}
"""Rules of primitives with several results."""
