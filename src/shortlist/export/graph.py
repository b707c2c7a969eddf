"""One ONNX graph under construction: its values, nodes, stored weights and shapes.

A value is a NumPy array, known at export, or a `Ref`, a tensor that exists only when the graph runs. Either
may be *lazily broadcast*: its shape may hold 1 where the computation it stands for says n. ONNX's elementwise
operators accept that; everything else asks `Graph.expand` for the full shape first, so that a bias is never
copied per row.

Dimensions are integers or the symbolic sizes of `jax.export` ("b", "2*b"), all in one scope, so that a
hand-made node and a lowered JAX function agree about the batch.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import onnx
from jax import export as jax_export
from numpy.typing import DTypeLike
from onnx import helper

from shortlist._typing import Array
from shortlist.errors import ExportError
from shortlist.export.protos import infer_type, make_node
from shortlist.export.views import keeps_order, same_elements, shaped

Dim: TypeAlias = Any  # int, or a symbolic size of jax.export (which has no public type)
Shape: TypeAlias = tuple[Dim, ...]

LONG = np.dtype(np.int64)


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor of the running graph: its name, shape and NumPy dtype (strings are `object`)."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]


class Spec(NamedTuple):
    """The shape and dtype a rule must produce."""

    shape: Shape
    dtype: np.dtype[Any]


Value: TypeAlias = Array | Ref


class _Store:
    """What a graph and the bodies nested in it share."""

    def __init__(self) -> None:
        self.scope = jax_export.SymbolicScope()
        self.weights: dict[str, Array] = {}  # name -> content
        self.names: dict[str, str] = {}  # digest -> name
        self.hints: dict[str, str] = {}  # digest -> the name wished for
        self.digests: dict[int, tuple[Array, str]] = {}  # large arrays are hashed once
        self.taken: set[str] = set()
        self.origins: dict[str, tuple[str, tuple[Value | None, ...], dict[str, Any]]] = {}
        self.sizes: dict[str, tuple[Ref, int]] = {}  # symbol -> a tensor and axis that has this size
        self.bounds: dict[str, tuple[int, int]] = {}  # what integers can be, where it is known
        self.count = 0


class Graph:
    """Nodes over shared weights. `body()` opens a nested graph that may read every value of this one."""

    def __init__(self, parent: Graph | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._nested = parent is not None
        self._store: _Store = parent._store if parent else _Store()
        self._seen: dict[bytes, list[str]] = dict(parent._seen) if parent else {}

    def body(self) -> Graph:
        """A graph for the body of a control-flow node."""
        return Graph(self)

    # Names and weights

    def fresh(self, stem: str) -> str:
        """A name not used so far."""
        while True:
            self._store.count += 1
            name = f"{stem}_{self._store.count}"
            if name not in self._store.taken:
                self._store.taken.add(name)
                return name

    def name(self, value: Value | None) -> str:
        """The ONNX name of a value; equal arrays are stored once. `None` is an optional input left out."""
        if value is None:
            return ""
        if isinstance(value, Ref):
            return value.name
        store, digest = self._store, self._digest(value)
        if digest not in store.names:
            name = store.hints.get(digest) or f"const_{digest[:12]}"
            if name in store.taken:
                name = f"{name}_{digest[:12]}"
            store.taken.add(name)
            store.names[digest], store.weights[name] = name, np.asarray(value)
        return store.names[digest]

    def suggest(self, value: Array, name: str) -> None:
        """Wish a name for an array, should it come to be stored."""
        self._store.hints.setdefault(self._digest(value), name)

    def _digest(self, value: Array) -> str:
        known = self._store.digests.get(id(value))
        if known is None:
            known = (value, digest(value))
            if value.nbytes > 1 << 16:
                self._store.digests[id(value)] = known
        return known[1]

    def _rearranged(self, old: Array, new: Array, suffix: str) -> Array:
        """Carry the wished name of a weight over to a rearranged copy."""
        if old.size > 1 and (hint := self._store.hints.get(self._digest(old))):
            self.suggest(new, hint + suffix)
        return new

    # Nodes

    def op(
        self,
        kind: str,
        args: Sequence[Value | None],
        shape: Sequence[Dim | str] | None = None,
        dtype: DTypeLike | None = None,
        *,
        domain: str = "",
        **attributes: Any,
    ) -> Ref:
        """Append a node of one result, or reuse an identical one.

        `shape` (dimensions as integers, symbols or their text) and `dtype` are inferred by ONNX where left
        out, which an operator outside the standard domains does not allow. Array attributes become tensors.

        Raises ExportError when the result cannot be inferred.
        """
        node = make_node(kind, [self.name(a) for a in args], domain, attributes)
        if shape is None or dtype is None:
            inferred = self._inferred(node, args)
            shape = inferred.shape if shape is None else shape
            dtype = inferred.dtype if dtype is None else dtype
        return self._append(node, args, attributes, [Spec(self.shape(shape), np.dtype(dtype))])[0]

    def ops(
        self,
        kind: str,
        args: Sequence[Value | None],
        outs: Sequence[Spec],
        *,
        domain: str = "",
        **attributes: Any,
    ) -> list[Ref]:
        """Append a node with the results `outs`, or reuse an identical one."""
        node = make_node(kind, [self.name(a) for a in args], domain, attributes)
        return self._append(node, args, attributes, outs)

    def _append(
        self,
        node: onnx.NodeProto,
        args: Sequence[Value | None],
        attributes: dict[str, Any],
        outs: Sequence[Spec],
    ) -> list[Ref]:
        key = b"%d" % len(outs) + node.SerializeToString(deterministic=True)
        if key not in self._seen:
            names = [self.fresh(node.op_type) for _ in outs]
            node.output.extend(names)
            self._seen[key] = names
            self.nodes.append(node)
            self._store.origins[names[0]] = (node.op_type, tuple(args), attributes)
        refs = [Ref(name, out.shape, out.dtype) for name, out in zip(self._seen[key], outs, strict=True)]
        for ref in refs:
            self._locate(ref)
        return refs

    def origin(self, value: Value) -> tuple[str, tuple[Value | None, ...], dict[str, Any]]:
        """The operator, arguments and attributes that made a value; ("", (), {}) for inputs and arrays."""
        name = value.name if isinstance(value, Ref) else ""
        return self._store.origins.get(name, ("", (), {}))

    def bound(self, value: Ref, low: int, high: int) -> Ref:
        """Say between which numbers an integer value always is, so that a lookup need not look."""
        self._store.bounds[value.name] = (low, high)
        return value

    def known_bounds(self, value: Value) -> tuple[int, int] | None:
        """What was said of this very value."""
        return self._store.bounds.get(value.name) if isinstance(value, Ref) else None

    def _inferred(self, node: onnx.NodeProto, args: Sequence[Value | None]) -> Spec:
        try:
            shape, dtype = infer_type(node, {self.name(a): a for a in args if a is not None})
        except ValueError as error:
            raise ExportError(
                f"the result of operator '{node.op_type}' cannot be inferred: {error}",
                hint="state shape= and dtype=, with symbols such as 'b' for sizes known only at run time",
            ) from error
        return Spec(self.shape(shape), dtype)

    # Shapes

    def shape(self, dims: Iterable[Dim | str]) -> Shape:
        """Dimensions with text such as "b" or "2*b" turned into symbolic sizes of this graph."""
        parse = jax_export.symbolic_shape
        return tuple(parse(d, scope=self._store.scope)[0] if isinstance(d, str) else d for d in dims)

    def _locate(self, ref: Ref) -> None:
        """Remember where a symbol can be measured; what a body makes is invisible outside it."""
        for axis, dim in enumerate(() if self._nested else ref.shape):
            if str(dim).isidentifier():
                self._store.sizes.setdefault(str(dim), (ref, axis))

    def dim(self, dim: Dim) -> Value:
        """A dimension as an int64 value of shape [1]: a constant, or nodes that compute it from inputs."""
        return np.array([dim], np.int64) if isinstance(dim, int) else self._size(ast.parse(str(dim)).body[0])

    def _size(self, e: ast.AST) -> Value:
        if isinstance(e, ast.Expr):
            return self._size(e.value)
        if isinstance(e, ast.Constant):
            return np.array([e.value], np.int64)
        if isinstance(e, ast.Name):
            ref, axis = self._store.sizes[e.id]
            return self.op("Shape", [ref], (1,), np.int64, start=axis, end=axis + 1)
        if isinstance(e, ast.UnaryOp):
            return self.op("Neg", [self._size(e.operand)], (1,), LONG)
        if isinstance(e, ast.BinOp):
            parts = [self._size(e.left), self._size(e.right)]
            return self.op(_ARITHMETIC[type(e.op).__name__], parts, (1,), np.int64)
        if isinstance(e, ast.Call) and isinstance(e.func, ast.Name):
            return self.op(_ARITHMETIC[e.func.id], [self._size(a) for a in e.args], (1,), np.int64)
        raise ExportError(f"a size cannot be computed in the graph: {ast.unparse(e)}")

    def dims(self, shape: Shape) -> Value:
        """A whole shape as an int64 value of shape [rank]."""
        if is_static(shape):
            return np.array(shape, np.int64)
        return self.join([self.dim(d) for d in shape], 0)

    def expand(self, value: Value, shape: Shape) -> Value:
        """Undo lazy broadcasting: a value whose real shape is `shape`."""
        if value.shape == tuple(shape):
            return value
        if isinstance(value, np.ndarray) and is_static(shape):
            return np.broadcast_to(value, shape)
        return self.op("Expand", [value, self.dims(shape)], shape, value.dtype)

    def reshape(self, value: Value, shape: Shape) -> Value:
        """The same elements in another shape; one symbolic size becomes -1, more are computed."""
        if value.shape == tuple(shape):
            return value
        if isinstance(value, np.ndarray):
            return self._rearranged(value, value.reshape(shape), "")
        if (there := shaped(self, value, shape)) is not None:
            return there
        value = list(same_elements(self, value))[-1]
        if sum(not isinstance(d, int) for d in shape) == 1 and 0 not in shape:
            target: Value = np.array([d if isinstance(d, int) else -1 for d in shape], np.int64)
        else:
            target = self.dims(shape)
        return self.op("Reshape", [value, target], shape, value.dtype)

    def transpose(self, value: Value, axes: Iterable[int]) -> Value:
        """Axes in another order; folds into weights and earlier transposes: `W @ x` under vmap cancels."""
        order = [int(axis) for axis in axes]
        if isinstance(value, np.ndarray):
            return self._rearranged(value, value.transpose(order), "" if order == sorted(order) else ".T")
        kind, args, attributes = self.origin(value)
        if kind == "Transpose" and args[0] is not None:
            return self.transpose(args[0], [attributes["perm"][axis] for axis in order])
        if order == sorted(order):
            return value
        if keeps_order(value.shape, order):
            return self.reshape(value, tuple(value.shape[axis] for axis in order))
        return self.op("Transpose", [value], [value.shape[axis] for axis in order], value.dtype, perm=order)

    def slice(self, value: Value, starts: Value, stops: Value, steps: Sequence[int], shape: Shape) -> Ref:
        """`value[start:stop:step]` along every axis, giving `shape`."""
        axes, strides = np.arange(len(steps), dtype=np.int64), np.array(steps, np.int64)
        return self.op("Slice", [value, starts, stops, axes, strides], shape, value.dtype)

    def join(self, parts: Sequence[Value], axis: int) -> Value:
        """Values one after the other along an axis."""
        if len(parts) == 1:
            return parts[0]
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self.op("Concat", parts, shape, parts[0].dtype, axis=axis)

    def cast(self, value: Value, dtype: DTypeLike) -> Value:
        """The value in another dtype; nothing where it already has it."""
        if value.dtype == np.dtype(dtype):
            return value
        if isinstance(value, np.ndarray):
            return value.astype(dtype)
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.op("Cast", [value], value.shape, dtype, to=kind)


_ARITHMETIC = {
    "Add": "Add", "Sub": "Sub", "Mult": "Mul", "FloorDiv": "Div",
    "floordiv": "Div", "mod": "Mod", "max": "Max", "min": "Min",
}  # fmt: skip


def is_static(shape: Iterable[Dim]) -> bool:
    """Whether every dimension is known at export."""
    return all(isinstance(d, int) for d in shape)


def digest(value: Array) -> str:
    """A hash of an array's dtype, shape and content; equal for arrays that may share one stored copy."""
    content = repr(value.tolist()).encode() if value.dtype.kind in "OU" else value.tobytes()
    return hashlib.sha256(f"{value.dtype.str}{value.shape}".encode() + content).hexdigest()
