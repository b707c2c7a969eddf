"""ONNX forms of lookups: `gather` for embedding tables, indexing and `take_along_axis`, and `dynamic_slice`.

JAX's gather is far more general than ONNX's. Supported is every gather whose indexed axes yield one element
each and whose other axes are taken whole, in each of JAX's ways with an index out of range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shortlist.export.elementwise import NoForm, Params, Rule
from shortlist.export.graph import LONG, Graph, Spec, Value, is_static
from shortlist.export.views import as_wide, bounds


@dataclass(frozen=True)
class _Lookup:
    """A gather whose every indexed axis yields one element and whose other axes are taken whole."""

    axes: tuple[int, ...]  # indexed axes of the operand, one column of `index` each
    index: Value
    batch: tuple[int, ...]  # batch axes of the operand
    index_batch: tuple[int, ...]  # the same, of the index
    whole: tuple[int, ...]  # the remaining axes of the operand


def _lookup(g: Graph, x: Value, index: Value, params: Params) -> _Lookup:
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    columns = list(enumerate(numbers.start_index_map))
    if params["mode"].name != "FILL_OR_DROP":
        # A window as wide as its axis can only start at 0: forget that column.
        columns = [(c, a) for c, a in columns if sizes[a] != x.shape[a] or x.shape[a] == 1]
    axes = tuple(axis for _, axis in columns)
    batch = tuple(numbers.operand_batching_dims)
    whole = tuple(a for a in range(len(x.shape)) if a not in axes and a not in batch)
    if not axes or any(sizes[a] != 1 for a in axes) or any(sizes[a] != x.shape[a] for a in whole):
        raise NoForm("a lookup of windows", "look up single positions, e.g. x[start + jnp.arange(size)]")
    index = _columns(g, g.cast(index, LONG) if index.dtype.kind == "u" else index, [c for c, _ in columns])
    return _Lookup(axes, index, batch, tuple(numbers.start_indices_batching_dims), whole)


def _columns(g: Graph, index: Value, keep: list[int]) -> Value:
    """index[..., keep], looking through the Concat that JAX joins index columns with."""
    last = len(index.shape) - 1
    if len(keep) == index.shape[-1]:
        return index
    kind, args, attributes = g.origin(index)
    parts = [a for a in args if a is not None]
    if kind == "Concat" and attributes["axis"] == last and all(p.shape[-1] == 1 for p in parts):
        kept = [parts[column] for column in keep]
        return kept[0] if len(kept) == 1 else g.join(kept, last)
    shape = (*index.shape[:-1], len(keep))
    return g.op("Gather", [index, np.array(keep, np.int64)], shape, index.dtype, axis=last)


def _within(g: Graph, x: Value, find: _Lookup) -> Value:
    """The index, clipped to the operand unless it is known to lie in it."""
    index, zero = find.index, np.zeros((), find.index.dtype)
    limits = tuple(x.shape[axis] - 1 for axis in find.axes)
    if len(limits) == 1 and is_static(limits):
        known = bounds(g, index)
        if known is not None and known[0] >= 0 and known[1] <= limits[0]:
            return index
        flat = g.reshape(index, tuple(index.shape[:-1]))
        held = g.op("Clip", [flat, zero, np.array(limits[0], index.dtype)], flat.shape, index.dtype)
        return g.reshape(held, tuple(index.shape))
    low = g.op("Max", [index, zero], index.shape, index.dtype)
    return g.op("Min", [low, g.cast(g.dims(limits), index.dtype)], index.shape, index.dtype)


def _gather(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    x, numbers, mode = args[0], params["dimension_numbers"], params["mode"].name
    find = _lookup(g, x, args[1], params)
    safe = find.index if mode == "PROMISE_IN_BOUNDS" else _within(g, x, find)
    found, order = _fetch(g, x, safe, find)
    single = [axis for axis in find.axes if axis not in numbers.collapsed_slice_dims]
    found = g.reshape(found, (*found.shape, *[1] * len(single)))
    order += [("x", axis) for axis in single]
    from_x = iter(sorted((*find.whole, *single)))
    from_index = iter(range(len(safe.shape) - 1))
    windows = [axis in numbers.offset_dims for axis in range(len(out.shape))]
    wanted = [("x", next(from_x)) if window else ("index", next(from_index)) for window in windows]
    found = g.transpose(found, [order.index(axis) for axis in wanted])
    if mode != "FILL_OR_DROP" or safe is find.index:
        return found
    valid: Value = g.op("Equal", [find.index, safe], safe.shape, bool)
    last = np.array([len(safe.shape) - 1])
    valid = g.op("ReduceMin", [g.cast(valid, np.int32), last], safe.shape[:-1], np.int32, keepdims=0)
    valid = g.cast(valid, bool)
    valid = g.reshape(valid, tuple(safe.shape[axis] if source == "index" else 1 for source, axis in wanted))
    return g.op("Where", [valid, found, _filling(params["fill_value"], out.dtype)], *out)


def _fetch(g: Graph, x: Value, index: Value, find: _Lookup) -> tuple[Value, list[tuple[str, int]]]:
    """The elements, and for each axis of the result the axis of the index or of the operand it came from."""
    last = len(index.shape) - 1
    others = [axis for axis in range(last) if axis not in find.index_batch]
    order = [("index", a) for a in (*find.index_batch, *others)] + [("x", a) for a in find.whole]
    shape = [index.shape[a] if source == "index" else x.shape[a] for source, a in order]
    table = g.transpose(x, (*find.batch, *find.axes, *find.whole))
    if len(find.axes) == 1 and not find.batch:
        rows = as_wide(g, g.reshape(index, tuple(index.shape[:-1])))
        return g.op("Gather", [table, rows], shape, x.dtype, axis=0), order
    at = g.cast(g.transpose(index, (*find.index_batch, *others, last)), LONG)
    return g.op("GatherND", [table, at], shape, x.dtype, batch_dims=len(find.batch)), order


def _filling(value: Any, dtype: np.dtype[Any]) -> Value:
    """What JAX puts where an index is out of range: NaN, True, the lowest integer, the highest unsigned."""
    if value is None and dtype.kind in "iu":
        value = np.iinfo(dtype).min if dtype.kind == "i" else np.iinfo(dtype).max
    return np.array(np.nan if value is None else value, dtype)


def _dynamic_slice(g: Graph, args: Sequence[Value], out: Spec, params: Params) -> Value:
    x, sizes = args[0], params["slice_sizes"]
    starts: list[Value] = []
    for start, length, size in zip(args[1:], x.shape, sizes, strict=True):
        low = g.op("Max", [g.reshape(g.cast(start, LONG), (1,)), np.zeros(1, np.int64)], (1,), LONG)
        starts.append(g.op("Min", [low, g.dim(length - size)], (1,), LONG))
    begin = g.join(starts, 0)
    end = g.op("Add", [begin, g.dims(sizes)], begin.shape, LONG)
    return g.slice(x, begin, end, [1] * len(sizes), out.shape)


LOOKUPS: dict[str, Rule] = {"gather": _gather, "dynamic_slice": _dynamic_slice}
