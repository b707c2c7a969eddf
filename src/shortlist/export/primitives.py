"""jaxpr -> ONNX over a declared set of primitives.

`walk` replays a traced function equation by equation into a graph. Calls (jit, custom derivatives,
checkpoints) are inlined, what is known at export is computed at export, and every remaining primitive needs a
rule from one of the tables: `ELEMENTWISE` and `AXES` (lazily broadcast arguments), `ARRAYS` and `LOOKUPS`
(exact shapes), `MANY` (several results); `scan` lives here because its body is walked in turn.

`SUPPORTED` names every primitive that may appear. Anything else raises `UnsupportedPrimitive` with the line
of the model that used it and a way round.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import equinox
import jax
import numpy as np
from jax.extend import core as jcore
from onnx import helper

from shortlist._typing import Array
from shortlist.errors import UnsupportedPrimitive
from shortlist.export.arrays import ARRAYS, MANY
from shortlist.export.elementwise import AXES, ELEMENTWISE, NoForm
from shortlist.export.graph import Graph, Ref, Spec, Value, is_static
from shortlist.export.lookups import LOOKUPS
from shortlist.export.protos import needed, value_info

CALLS = frozenset({
    "jit", "pjit", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr",
    "checkpoint", "remat", "remat2",
})  # fmt: skip

SUPPORTED: tuple[str, ...] = tuple(
    sorted(
        {
            *ELEMENTWISE,
            *AXES,
            *ARRAYS,
            *LOOKUPS,
            *MANY,
            *CALLS,
            "scan",
            "optimization_barrier",
            "stop_gradient",
        }
    )
)
"""Every JAX primitive with an ONNX form here."""

_SWITCH_OFF = "an exported graph draws no random numbers: apply equinox.nn.inference_mode(model) first"
_BEFORE = "compute it before export and keep the result as a parameter"
_WAYS_ROUND = {
    "scatter": "build the result with jnp.where and a mask, or as a product with jax.nn.one_hot, "
    "instead of .at[].set() or segment_sum",
    "while": "use jax.lax.scan (or a Python loop) over a fixed number of steps",
    "cond": "compute both branches and choose with jnp.where",
    "random": _SWITCH_OFF,
    "threefry": _SWITCH_OFF,
    "erf_inv": f"ONNX has no inverse error function; {_BEFORE}, or encode it as a feature",
    "reduce_window": "pool with reshape and a mean or maximum over the new axis",
    "debug": "remove the call to Python (jax.debug) from the model",
    "pure_callback": "remove the call to Python from the model",
    "io_callback": "remove the call to Python from the model",
    "cum": "use jnp.cumsum, or jax.lax.scan over the positions",
    **dict.fromkeys(("cholesky", "lu", "householder", "svd", "eig", "qr", "triangular_solve"), _BEFORE),
}
_SINGLE = AXES | ARRAYS | LOOKUPS
_LIBRARIES = (jax.__file__, equinox.__file__, __file__)
_NOT_THE_MODEL = tuple(os.path.dirname(os.path.abspath(path)) + os.sep for path in _LIBRARIES)


def walk(
    g: Graph, jaxpr: jcore.Jaxpr, consts: Sequence[Any], args: Sequence[Value], place: str = ""
) -> list[Value]:
    """Replay a jaxpr into `g` and return its results, which may be lazily broadcast.

    `place` says where the model made the call that this jaxpr is the inside of.

    Raises UnsupportedPrimitive naming the first primitive without an ONNX form.
    """
    values: dict[Any, Value] = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
    values.update(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Value:
        if isinstance(atom, jcore.Literal):
            return np.asarray(atom.val, getattr(atom.aval, "dtype", None))
        return values[atom]

    for equation in jaxpr.eqns:
        try:
            here = _place(equation) or place
            results = _replay(g, equation, [read(a) for a in equation.invars], here)
        except NoForm as error:
            use = f"{error} (primitive '{equation.primitive.name}')"
            raise UnsupportedPrimitive(f"{use} has no ONNX form{here}", hint=error.hint) from None
        values.update(zip(equation.outvars, results, strict=True))
    return [read(a) for a in jaxpr.outvars]


def _replay(g: Graph, equation: Any, args: list[Value], place: str) -> Sequence[Value]:
    name, params = equation.primitive.name, equation.params
    if name in CALLS:
        inner = params.get("jaxpr") or params.get("call_jaxpr") or params.get("fun_jaxpr")
        return walk(g, getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), args, place)
    if name in ("optimization_barrier", "stop_gradient"):
        return args
    lazy = name in ELEMENTWISE or name in AXES
    if not lazy:
        args = [g.expand(a, v.aval.shape) for a, v in zip(args, equation.invars, strict=True)]
    if _known(equation, args):
        return _computed(equation, args)
    if name not in SUPPORTED:
        raise _unsupported(name, place)
    outs = [Spec(tuple(v.aval.shape), np.dtype(v.aval.dtype)) for v in equation.outvars]
    if name == "scan":
        return _scan(g, args, outs, params, place)
    if name in MANY:
        return MANY[name](g, args, outs, params)
    if name in ELEMENTWISE:
        return [ELEMENTWISE[name](g, args, Spec(_common(args), outs[0].dtype), params)]
    return [_SINGLE[name](g, args, outs[0], params)]


def _common(args: Sequence[Value]) -> tuple[Any, ...]:
    return tuple(jax.numpy.broadcast_shapes(*[a.shape for a in args]))


def _known(equation: Any, args: Sequence[Value]) -> bool:
    """Whether an equation's results can be computed at export."""
    name = equation.primitive.name
    if name in AXES or name == "dim_as_value" or name.startswith(("random", "threefry")) or equation.effects:
        return False  # moves of axes fold by themselves; frozen random numbers would be a silent mistake
    if not all(isinstance(a, np.ndarray) for a in args):
        return False
    return name in ELEMENTWISE or all(is_static(v.aval.shape) for v in equation.outvars)


_IN_NUMPY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative, "eq": np.equal,
    "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "convert_element_type": np.asarray,
}  # fmt: skip
"""Exactly what JAX computes, without compiling each small constant; the rest is left to JAX itself."""


def _computed(equation: Any, args: Sequence[Value]) -> list[Array]:
    name, known = equation.primitive.name, [np.asarray(a) for a in args]
    if name in _IN_NUMPY:
        return [np.asarray(_IN_NUMPY[name](*known), equation.outvars[0].aval.dtype)]
    if name in ELEMENTWISE:
        known = list(np.broadcast_arrays(*known))
    result = equation.primitive.bind(*known, **equation.params)
    return [np.asarray(r) for r in (result if equation.primitive.multiple_results else [result])]


def _scan(
    g: Graph, args: Sequence[Value], outs: Sequence[Spec], params: Mapping[str, Any], place: str
) -> list[Value]:
    """An ONNX Scan: constants are read from the outer graph, carries and slices are the body's inputs."""
    consts, carries = params["num_consts"], params["num_carry"]
    start = list(args[consts : consts + carries])
    sequences = list(args[consts + carries :]) or [np.arange(params["length"], dtype=np.int64)]
    body = g.body()
    inputs = [Ref(body.fresh("carry"), tuple(c.shape), c.dtype) for c in start]
    inputs += [Ref(body.fresh("slice"), tuple(s.shape[1:]), s.dtype) for s in sequences]
    closed = params["jaxpr"]
    given = [*args[:consts], *inputs][: len(closed.jaxpr.invars)]
    results = walk(body, closed.jaxpr, closed.consts, given, place)
    shapes = [out.shape if i < carries else out.shape[1:] for i, out in enumerate(outs)]
    finals = [_final(body, r, shape) for r, shape in zip(results, shapes, strict=True)]
    nodes, _ = needed(body.nodes, [f.name for f in finals])
    taken, made = ([value_info(r.name, r.dtype, r.shape) for r in refs] for refs in (inputs, finals))
    backwards = [int(params["reverse"])]
    ways: dict[str, Any] = {"scan_input_directions": backwards * len(sequences)}
    if len(outs) > carries:
        ways["scan_output_directions"] = backwards * (len(outs) - carries)
    graph = helper.make_graph(nodes, body.fresh("body"), taken, made)
    return list(g.ops("Scan", [*start, *sequences], outs, body=graph, num_scan_inputs=len(sequences), **ways))


def _final(body: Graph, value: Value, shape: tuple[Any, ...]) -> Ref:
    """A result made inside the body, once: ONNX lets no body hand on an outer value, or one value twice."""
    exact = body.expand(value, shape)
    name = body.fresh("result")
    body.nodes.append(helper.make_node("Identity", [body.name(exact)], [name]))
    return Ref(name, shape, exact.dtype)


def _unsupported(name: str, place: str) -> UnsupportedPrimitive:
    way = next((way for start, way in _WAYS_ROUND.items() if name.startswith(start)), "")
    return UnsupportedPrimitive(
        f"primitive '{name}' has no ONNX form{place}",
        hint=way or f"rewrite this line; the primitives that export are: {', '.join(SUPPORTED)}",
    )


def _place(equation: Any) -> str:
    """Where the model used a primitive: the innermost line outside JAX, Equinox and this package."""
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback else ():
        if not os.path.abspath(frame.file_name).startswith(_NOT_THE_MODEL):
            return f", used at {frame.file_name}:{frame.line_num} in {frame.function_name}"
    return ""
