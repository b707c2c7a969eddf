"""Small recommender models, lowered and run by ONNX Runtime, against JAX itself."""

from __future__ import annotations

import math
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from shortlist.errors import ExportError, UnsupportedPrimitive
from shortlist.export.builder import GraphBuilder
from shortlist.export.primitives import CALLS, SUPPORTED
from shortlist.features.history import GAP_BUCKETS
from shortlist.models.crosses import CrossLayers, DotInteractions
from shortlist.models.sequence import build_encoder

T, D, N = 6, 8, 20  # steps of a history, width, rows of a table
LONGEST = 50  # events of a user's past
ROWS = 100
CASES = {}


def normal(seed, *shape):
    return 0.5 * np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def made(build, *args, seed=0, **options):
    """An Equinox module with NumPy's random numbers: nothing to compile."""
    rng = np.random.default_rng(seed)
    shapes = eqx.filter_eval_shape(lambda: build(*args, **options, key=jax.random.key(0)))
    return jax.tree.map(
        lambda leaf: (
            jax.device_put(np.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype))
            if isinstance(leaf, jax.ShapeDtypeStruct)
            else leaf
        ),
        shapes,
    )


def drawn(module, seed=0):
    """A module of the package with every parameter drawn anew: many start at zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jax.device_put(np.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype)), module
    )


def floats(*shape):
    return lambda rng: rng.normal(size=(ROWS, *shape)).astype(np.float32)


def ids(*shape, low=0, high=N):
    return lambda rng: rng.integers(low, high, (ROWS, *shape))


def masks(*shape):
    """Random truth values with at least the first of every row true."""

    def make(rng):
        mask = rng.random((ROWS, *shape)) < 0.6
        mask[:, 0] = True
        return mask

    return make


def case(params=None, **inputs):
    """Register a model written per example: fn(params, x) with x a dict of one example's inputs."""

    def register(fn):
        CASES[fn.__name__] = (fn, params, inputs)
        return fn

    return register


def lookup(table, index):
    return jnp.asarray(table).at[index].get(mode="clip", wrap_negative_indices=False)


def unit(x):
    return x / jnp.maximum(jnp.linalg.norm(x), 1e-6)


def mlp_with(activation):
    def fn(params, x):
        return params(x["x"])

    fn.__name__ = f"mlp_{getattr(activation, '__name__', 'gelu_exact')}"
    case(made(eqx.nn.MLP, D, 3, 16, 2, activation=activation, seed=0), x=floats(D))(fn)


for activation in (jax.nn.relu, jax.nn.gelu, jax.nn.silu, jnp.tanh, jax.nn.softplus, jax.nn.elu, jax.nn.selu):
    mlp_with(activation)
mlp_with(lambda x: jax.nn.gelu(x, approximate=False))


@case((made(lambda key: eqx.nn.LayerNorm(D)), made(lambda key: eqx.nn.RMSNorm(D))), x=floats(D))
def normalisation(params, x):
    return params[0](x["x"]), params[1](x["x"])


@case([made(eqx.nn.Linear, D, D, seed=i) for i in range(3)], x=floats(D))
def cross_network(params, x):
    crossed = x["x"]
    for layer in params:
        crossed = x["x"] * layer(crossed) + crossed
    return crossed


@case(
    {"u": normal(1, 4, D, 3), "v": normal(2, 4, 3, D), "c": normal(3, 4, 3, 3), "gate": normal(4, 4, D)},
    x=floats(D),
)
def cross_network_of_low_rank_experts(params, x):
    inner = jnp.tanh(jnp.einsum("erd,d->er", params["v"], x["x"]))
    inner = jnp.tanh(jnp.einsum("ers,es->er", params["c"], inner))
    experts = x["x"] * jnp.einsum("edr,er->ed", params["u"], inner)
    return jax.nn.softmax(params["gate"] @ x["x"]) @ experts + x["x"]


@case(fields=floats(5, D))
def dot_interaction(params, x):
    return (x["fields"] @ x["fields"].T)[np.tril_indices(5, -1)]


@case(fields=floats(5, D))
def factorisation_machine(params, x):
    return 0.5 * jnp.sum(jnp.square(x["fields"].sum(0)) - jnp.square(x["fields"]).sum(0))


@case(normal(0, N, D), tokens=ids(T))
def masked_mean_of_embeddings(table, x):
    present = (x["tokens"] > 0)[:, None]
    return jnp.sum(jnp.where(present, lookup(table, x["tokens"]), 0), 0) / jnp.maximum(present.sum(), 1)


@case(normal(0, N, D), one=ids(low=-9, high=40), many=ids(T, low=-9, high=40))
def lookups_out_of_range(table, x):
    taken = jnp.take(table, x["many"], axis=0, mode="clip")
    filled = jnp.nan_to_num(jnp.take(table, x["many"], axis=0), nan=7.0)
    hot = jax.nn.one_hot(x["many"] % N, N) @ table
    return lookup(table, x["one"]), lookup(table, x["many"]), taken, filled, hot


@case(made(eqx.nn.MultiheadAttention, 2, D, seed=0), x=floats(T, D), mask=masks(T))
def attention_with_padding_mask(params, x):
    return params(x["x"], x["x"], x["x"], mask=jnp.broadcast_to(x["mask"][None, :], (T, T)))


class Block(eqx.Module):
    table: eqx.nn.Embedding
    place: jax.Array
    attention: eqx.nn.MultiheadAttention
    norms: list
    feed: eqx.nn.MLP

    def __init__(self, key):
        self.table = eqx.nn.Embedding(N, D, key=key)
        self.place = jnp.zeros((T, D))
        self.attention = eqx.nn.MultiheadAttention(2, D, key=key)
        self.norms = [eqx.nn.LayerNorm(D), eqx.nn.LayerNorm(D)]
        self.feed = eqx.nn.MLP(D, D, 16, 1, activation=jax.nn.gelu, key=key)

    def __call__(self, history):
        present = history > 0
        x = jax.vmap(self.table)(history) * np.sqrt(D) + self.place
        h = jax.vmap(self.norms[0])(x)
        x = x + self.attention(h, h, h, mask=jnp.tril(jnp.ones((T, T), bool)) & present[None, :])
        x = x + jax.vmap(self.feed)(jax.vmap(self.norms[1])(x))
        return jnp.where(present[:, None], x, 0.0)[jnp.maximum(present.sum() - 1, 0)]


@case(made(Block), history=ids(T, low=1))
def transformer_block(params, x):
    return params(x["history"])


@case(made(eqx.nn.GRUCell, D, D, seed=0), x=floats(T, D), mask=masks(T))
def masked_gru(params, x):
    def step(state, now):
        state = jnp.where(now[1], params(now[0], state), state)
        return state, state

    return jax.lax.scan(step, jnp.zeros(D), (x["x"], x["mask"]))


@case(made(eqx.nn.LSTMCell, D, D, seed=0), x=floats(T, D))
def reversed_lstm(params, x):
    def step(state, now):
        state = params(now, state)
        return state, state[0]

    return jax.lax.scan(step, (jnp.zeros(D), jnp.zeros(D)), x["x"], reverse=True)


@case(x=floats(D), start=ids())
def loops(params, x):
    doubled = jax.lax.fori_loop(0, 3, lambda i, v: v * 2 + i, x["x"])

    def outer(total, v):
        return jax.lax.scan(lambda c, w: (c * 0.5 + w, None), total, x["x"])[0] + v, None

    nested, _ = jax.lax.scan(outer, jnp.float32(0), x["x"])
    return doubled, nested, jnp.searchsorted(jnp.linspace(-1, 1, 9), x["x"][0])


@case(
    (
        made(lambda key: eqx.filter_vmap(lambda k: eqx.nn.MLP(D, 4, D, 1, key=k))(jax.random.split(key, 3))),
        [made(eqx.nn.Linear, D, 3, seed=i) for i in (1, 2)],
        [made(eqx.nn.MLP, 4, "scalar", 4, 1, seed=i) for i in (3, 4)],
    ),
    x=floats(D),
)
def mixture_of_experts_with_two_heads(params, x):
    experts, gates, heads = params
    mixed = eqx.filter_vmap(lambda expert: expert(x["x"]))(experts)
    return {
        name: jax.nn.sigmoid(head(jax.nn.softmax(gate(x["x"])) @ mixed))
        for name, gate, head in zip(("rating", "click"), gates, heads, strict=True)
    }


@case(
    made(eqx.nn.MLP, 4 * D, "scalar", 8, 1, activation=jax.nn.sigmoid, seed=0),
    target=floats(D), history=floats(T, D), mask=masks(T),
)  # fmt: skip
def target_attention(params, x):
    target = x["target"]
    scores = jax.vmap(lambda h: params(jnp.concatenate([h, target, h - target, h * target])))(x["history"])
    return jax.nn.softmax(jnp.where(x["mask"], scores, -1e9)) @ x["history"]


def pasts(length):
    """Which of a user's events there are: any number from the second row on, in the second row none."""

    def make(rng):
        events = rng.integers(0, length + 1, (ROWS, 1))
        events[1] = 0
        return (np.arange(length) < events) & (rng.random((ROWS, length)) < 0.9)

    return make


HISTORY = {"vectors": floats(LONGEST, D), "valid": pasts(LONGEST), "gap": ids(LONGEST, high=GAP_BUCKETS)}


def history_encoder(kind, **options):
    def fn(params, x):
        return params(x["vectors"], x["valid"], x["gap"])

    fn.__name__ = "_".join(["history", kind, *(f"{k}_{v}" for k, v in options.items())])
    case(drawn(build_encoder(kind, LONGEST, D, GAP_BUCKETS, seed=0, name="x", **options)), **HISTORY)(fn)


for kind, options in (
    ("weighted", {}),
    ("weighted", {"heads": 3}),
    ("mean", {}),
    ("gru", {"hidden": 5, "dropout": 0.1}),
    ("attention", {"num_heads": 2, "dropout": 0.1}),
    ("attention", {"num_blocks": 2, "num_heads": 4}),
    ("attention", {"num_blocks": 2, "causal": False}),
):
    history_encoder(kind, **options)


@case([drawn(CrossLayers(D, 2, np.random.default_rng(0), rank=rank)) for rank in (None, 3)], x=floats(D))
def cross_layers(params, x):
    return [layers(x["x"]) for layers in params]


@case(fields=floats(5, D))
def dot_interactions(params, x):
    return DotInteractions(5)(x["fields"])


@case(
    {
        "user": normal(0, N, D), "item": normal(1, N, D), "bucket": normal(2, 6, D),
        "edges": np.linspace(-1, 1, 5, dtype=np.float32),
        "query": made(eqx.nn.MLP, 2 * D + 1, 4, 16, 1, seed=3),
        "candidate": made(eqx.nn.MLP, D, 4, 16, 1, seed=4),
        "log_temperature": np.float32(-1.0),
    },
    user_id=ids(), item_id=ids(), timestamp=floats(),
)  # fmt: skip
def two_towers_with_cosine_and_temperature(params, x):
    bucket = jnp.sum(x["timestamp"] >= params["edges"])
    context = jnp.concatenate(
        [lookup(params["user"], x["user_id"]), lookup(params["bucket"], bucket), x["timestamp"][None]]
    )
    query = unit(params["query"](context))
    candidate = unit(params["candidate"](lookup(params["item"], x["item_id"])))
    return query, candidate, query @ candidate * jnp.exp(-params["log_temperature"])


@case(x=floats(D))
def arithmetic(params, x):
    v = x["x"]
    size = jnp.abs(v)
    return (
        jnp.clip(v, -0.5, 0.5), jnp.where(v > 0, jnp.log1p(size), jnp.expm1(v)), jnp.power(size, 1.7),
        v**3, 2.0**v, jnp.sqrt(size), jax.lax.rsqrt(size + 1), jnp.sign(v) * jnp.floor(v) + jnp.ceil(v),
        jnp.round(v), jax.lax.round(v * 4) / 4, jnp.sin(v) + jnp.cos(v) + jnp.arctan(v), v % 0.7,
        jax.lax.rem(v, jnp.float32(0.7)), jnp.isfinite(v / jnp.where(v > 1, 0.0, 1.0)),
        jnp.isfinite(3e38 * v), jax.lax.clamp(jnp.float32(-0.5), v, jnp.float32(0.5)),
        jax.scipy.special.erfc(v), jax.nn.log_softmax(v), jnp.clip(v, jnp.zeros(D), size + 0.1),
    )  # fmt: skip


@case(x=floats(D), i=ids(D, low=-N))
def integers_and_truth(params, x):
    v, i = x["x"], x["i"]
    return (
        i // 3, i % 7, (i & 6) | 1, ~i ^ 5, (v > 0) ^ (i > 2), ~(v > 0) | (i != 3), jnp.maximum(i, -3),
        jnp.abs(i), jax.lax.rem(i, jnp.full_like(i, 7)), jnp.maximum(abs(i).astype(jnp.uint32), 0),
        (v * 3).astype(jnp.int32), i.astype(jnp.float32) / 2, jnp.any(v > 1), jnp.all(v >
        -1), jnp.sum(v > 0), jnp.maximum(v > 0, i > 0), jnp.minimum(v > 0, i > 0), jax.lax.select_n(i %
        3, i, -i, 7 * i),
    )  # fmt: skip


@case(x=floats(12))
def positions(params, x):
    v = x["x"]
    a, b, c = jnp.split(v, [3, 8])
    return (
        jnp.cumsum(v), jnp.cumsum(v[::-1])[::-1], jnp.flip(v), jnp.roll(v, 3), v[2:11:3], jnp.pad(v[2:],
        (1, 3)), jax.lax.pad(v, 9.0, [(-2, 1, 0)]), jnp.concatenate([c, a]), b, jnp.tile(v, 2),
        jnp.stack([v, 2 * v], 1), jnp.unstack(v.reshape(3, 4), axis=1), v.reshape(3, 4).T, jnp.ones(4), v
        + jnp.arange(12) + jnp.linspace(0, 1, 12),
    )  # fmt: skip


@case(x=floats(12))
def orderings_and_statistics(params, x):
    v = x["x"]
    return (
        jax.lax.top_k(v, 5), jnp.sort(v), jnp.argsort(v), jnp.argmax(v), jnp.argmin(v), jnp.max(v) -
        jnp.min(v), jnp.std(v), jnp.median(v), jnp.prod(v[:3]), jax.nn.logsumexp(v),
        jax.lax.top_k(jnp.abs(jnp.round(v)), 12),
    )  # fmt: skip


@case(x=floats(10, D), i=ids(3, high=10), j=ids(high=10))
def indexing(params, x):
    rows = jax.vmap(lambda k: x["x"][k])(x["i"])
    at = jax.lax.dynamic_index_in_dim(x["x"], x["j"], keepdims=False)
    return (
        rows,
        at,
        jnp.take_along_axis(x["x"], x["i"][:, None], axis=0),
        x["x"][x["i"], 2],
        x["x"][x["j"], x["j"] % D],
    )


@case(made(eqx.nn.Conv1d, D, 4, 3, padding=1, seed=0), x=floats(D, T))
def convolution(params, x):
    return params(x["x"])


def runs(g, name="test"):
    """The session of a finished graph, checked by ONNX with full inference."""
    model = g.finish(name)
    onnx.checker.check_model(model, full_check=True)
    assert all(opset.domain in ("", "ai.onnx.ml") for opset in model.opset_import)
    return model, onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def lowered(fn, params, columns, symbol="b"):
    """A builder with one int64, float or bool input a column, `fn` lowered, and outputs y0, y1, ..."""
    g = GraphBuilder()
    refs = {name: g.input(name, v.dtype, (symbol, *v.shape[1:])) for name, v in columns.items()}
    for position, ref in enumerate(g.lower(fn, params, refs)):
        g.output(f"y{position}", ref)
    return g


def batched(fn):
    return lambda params, x: jax.vmap(lambda row: fn(params, row))(x)


@pytest.mark.parametrize("name", CASES)
def test_onnx_runtime_agrees_with_jax_at_every_batch_size(name):
    fn, params, inputs = CASES[name]
    columns = {column: make(np.random.default_rng(1)) for column, make in inputs.items()}
    expected = jax.tree.leaves(eqx.filter_jit(batched(fn))(params, columns))
    _, session = runs(lowered(batched(fn), params, columns))
    for rows in (1, 7, ROWS):
        found = session.run(None, {column: v[:rows] for column, v in columns.items()})
        assert len(found) == len(expected)
        for want, got in zip(expected, found, strict=True):
            want = np.asarray(want)[:rows]  # a model is per example, so fewer rows are the first rows
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
            np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=0, atol=1e-5)


def test_halves_are_rounded_away_from_zero_and_nothing_else_is_moved():
    sizes = [
        0.0,
        0.1,
        0.5,
        1.5,
        2.5,
        3.49,
        2**22 + 0.5,
        2**22 + 1.5,
        2**23 - 0.5,
        2**23 + 1,
        2**24 - 1,
        np.inf,
    ]
    size = np.array([*sizes, 3e38, np.nan], np.float32)
    edges = np.concatenate([size, np.nextafter(size, np.float32(0)), np.nextafter(size, np.float32(np.inf))])
    columns = {"x": np.concatenate([edges, -edges])}
    _, session = runs(lowered(lambda _, x: jax.lax.round(x["x"]), None, columns))
    np.testing.assert_array_equal(session.run(None, columns)[0], jax.lax.round(columns["x"]))


def gelu_and_its_lookalikes(_, x):
    x = x["x"]
    other = x[::-1]
    gate = 0.5 * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    fifth = 0.5 * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**5)))
    steep = 0.5 * (1 + jnp.tanh(0.8 * (x + 0.044715 * x**3)))
    return x * gate, gate * x, other * gate, x * fifth, x * steep


def test_gelu_becomes_one_operator_and_what_only_looks_like_it_does_not():
    columns = {"x": floats(5)(np.random.default_rng(0))}
    model, session = runs(lowered(batched(gelu_and_its_lookalikes), None, columns))
    assert [n.op_type for n in model.graph.node].count("Gelu") == 1  # of the first two, the same node
    found = session.run(None, columns)
    for want, got in zip(batched(gelu_and_its_lookalikes)(None, columns), found, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def test_two_symbolic_sizes_and_reshapes_across_the_batch():
    def fn(params, x):
        q, c = x["q"], x["c"]
        flat = q.reshape(q.shape[0] * 2, D // 2).reshape(-1, 2, 2, 2).transpose(0, 2, 1, 3).reshape(-1, D)
        return q @ c.T / 0.05, flat, jnp.ones((2 * q.shape[0], 3)), jnp.arange(q.shape[0]) + x["at"]

    g = GraphBuilder()
    refs = {"q": g.input("q", np.float32, ("b", D)), "c": g.input("c", np.float32, ("n", D))}
    refs["at"] = g.input("at", np.int32, ("b",))
    for i, ref in enumerate(g.lower(fn, None, refs)):
        g.output(f"y{i}", ref)
    _, session = runs(g)
    rng = np.random.default_rng(0)
    for b, n in ((1, 5), (4, 1), (3, 3)):
        x = {"q": rng.normal(size=(b, D)), "c": rng.normal(size=(n, D))}
        x = {k: v.astype(np.float32) for k, v in x.items()} | {"at": np.arange(b, dtype=np.int32)}
        for want, got in zip(fn(None, x), session.run(None, x), strict=True):
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("primitive", "advice", "fn"),
    [
        ("scatter", "jnp.where", lambda p, x: x["x"].at[3].set(0.0)),
        ("scatter-add", "one_hot", lambda p, x: jax.ops.segment_sum(x["x"], jnp.arange(D) % 2, 2)),
        (
            "while",
            "scan",
            lambda p, x: jax.lax.while_loop(lambda v: v.sum() < 9, lambda v: v * 2 + 1, x["x"]),
        ),
        ("erf_inv", "before export", lambda p, x: jax.lax.erf_inv(x["x"])),
        ("random_bits", "inference_mode", lambda p, x: x["x"] + jax.random.normal(jax.random.key(0), (D,))),
        (
            "cholesky",
            "before export",
            lambda p, x: jnp.linalg.cholesky(jnp.outer(x["x"], x["x"]) + jnp.eye(D)),
        ),
    ],
)
def test_an_unsupported_primitive_is_named_with_its_line_and_a_way_round(primitive, advice, fn):
    g = GraphBuilder()
    x = g.input("x", np.float32, ("b", D))
    with pytest.raises(UnsupportedPrimitive) as error:
        g.lower(batched(fn), None, {"x": x})
    stem = primitive.split("_")[0]
    assert f"'{stem}" in str(error.value) and advice in error.value.hint
    assert f"{__file__}:{fn.__code__.co_firstlineno} in" in str(error.value)
    assert primitive not in SUPPORTED


def test_unsupported_uses_of_supported_primitives_are_named():
    g = GraphBuilder()
    x, at = g.input("x", np.float32, ("b", D)), g.input("at", np.int64, ("b",))
    window = batched(lambda p, row: jax.lax.dynamic_slice(row["x"], (row["at"],), (2,)))
    with pytest.raises(UnsupportedPrimitive, match=r"lookup of windows .*'gather'.* used at"):
        g.lower(window, None, {"x": x, "at": at})
    with pytest.raises(UnsupportedPrimitive, match="sort by several keys or along the batch"):
        g.lower(lambda p, v: jnp.sort(v["x"], axis=0), None, {"x": x})


def test_supported_is_sorted_and_complete_for_the_models_here():
    assert list(SUPPORTED) == sorted(set(SUPPORTED))
    assert {"dot_general", "gather", "scan", "jit", "select_n", "top_k", "broadcast_in_dim"} <= set(SUPPORTED)


def test_the_guide_lists_what_is_supported():
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "custom.md").read_text(encoding="utf-8")
    listed = guide.split("These primitives of JAX")[1].split("```")[1].removeprefix("text").split(",")
    assert [name.strip() for name in listed] == [name for name in SUPPORTED if name not in CALLS]


def test_hand_made_encoder_nodes_and_lowered_functions_share_one_graph():
    users, table = ["7", "42", "94"], np.asarray(normal(0, 4, D))
    g = GraphBuilder()
    raw = g.input("user_id", "string", ("b",))
    code = g.op(
        "LabelEncoder",
        [raw],
        domain="ai.onnx.ml",
        keys_strings=users,
        values_int64s=[1, 2, 3],
        default_int64=0,
    )
    assert (code.shape, code.dtype) == (raw.shape, np.int64)
    [score] = g.lower(lambda p, x: lookup(p, x["user"]).sum(-1), table, {"user": code})
    doubled = g.op("Mul", [score, np.array(2, np.float32)])
    g.output("score", doubled)
    model, session = runs(g, "rank")
    assert {(o.domain, o.version) for o in model.opset_import} == {("", 21), ("ai.onnx.ml", 4)}
    assert (model.ir_version, model.graph.name) == (10, "rank")
    given = np.array(["42", "unheard of", "7"], object)
    [found] = session.run(["score"], {"user_id": given})
    np.testing.assert_allclose(found, 2 * table[[2, 0, 1]].sum(1), atol=1e-6)


def test_shapes_that_onnx_cannot_infer_are_asked_for_and_may_add_symbols():
    g = GraphBuilder()
    x = g.input("x", np.float32, ("b", D))
    with pytest.raises(ExportError, match="'NonZero'") as error:
        g.op("NonZero", [x])
    assert "shape=" in error.value.hint
    with pytest.raises(ExportError, match="'Tokenizer'"):
        g.op("Tokenizer", [x], domain="com.microsoft")
    places = g.op("NonZero", [x], (2, "found"), np.int64)
    g.output(
        "counts", g.lower(lambda p, v: jnp.ones(v["at"].shape[1]).sum() + p, np.float32(1), {"at": places})[0]
    )
    _, session = runs(g)
    assert session.run(None, {"x": np.eye(D, dtype=np.float32)})[0] == D + 1


def test_operators_of_onnx_runtime_add_their_domain():
    g = GraphBuilder()
    x = g.input("x", np.float32, ("b", D))
    g.output("y", g.op("Gelu", [x], x.shape, x.dtype, domain="com.microsoft"))
    model = g.finish("custom")
    assert {(o.domain, o.version) for o in model.opset_import} == {("", 21), ("com.microsoft", 1)}
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = np.ones((2, D), np.float32)
    np.testing.assert_allclose(
        session.run(None, {"x": given})[0], jax.nn.gelu(given, approximate=False), atol=1e-6
    )


def test_equal_weights_and_equal_nodes_are_stored_once_under_their_path():
    table = normal(0, N, D)
    g = GraphBuilder()
    refs = {name: g.input(name, np.int64, ("b",)) for name in ("a", "b")}
    params = {"first": {"table": table}, "second": {"table": table + 0}}
    both = g.lower(
        lambda p, x: lookup(p["first"]["table"], x["a"]) @ lookup(p["second"]["table"], x["b"]).T,
        params,
        refs,
    )
    again = g.lower(lambda p, x: lookup(p, x["a"]), table, refs, prefix="again")
    for name, ref in zip(("scores", "rows"), both + again, strict=True):
        g.output(name, ref)
    model, _ = runs(g)
    assert [t.name for t in model.graph.initializer if t.dims == [N, D]] == ["first.table"]
    gathers = [node for node in model.graph.node if node.op_type == "Gather"]
    assert len(gathers) == 2


def test_different_weights_of_the_same_path_keep_apart_and_prefixes_name_them():
    g = GraphBuilder()
    x = g.input("x", np.float32, ("b", D))
    layers = [made(eqx.nn.Linear, D, D, use_bias=False, seed=i) for i in range(3)]
    apply = batched(lambda p, row: p(row["x"]))
    refs = [*g.lower(apply, layers[0], {"x": x}), *g.lower(apply, layers[1], {"x": x})]
    refs += g.lower(apply, layers[2], {"x": x}, prefix="query")
    for i, ref in enumerate(refs):
        g.output(f"y{i}", ref)
    model, session = runs(g)
    names = [t.name for t in model.graph.initializer]
    assert names[0] == "weight.T" and names[1].startswith("weight.T_") and names[2] == "query.weight.T"
    given = np.random.default_rng(0).normal(size=(3, D)).astype(np.float32)
    for layer, found in zip(layers, session.run(None, {"x": given}), strict=True):
        np.testing.assert_allclose(found, jax.vmap(layer)(given), atol=1e-5)


def test_dead_nodes_and_weights_are_left_out_and_the_same_calls_give_the_same_bytes():
    def build():
        g = GraphBuilder()
        x = g.input("x", np.float32, ("b", D))
        mlp = made(eqx.nn.MLP, D, 2, 16, 1, seed=0)
        hidden, _ = g.lower(lambda p, v: (v["x"] @ p.layers[0].weight.T, jax.vmap(p)(v["x"])), mlp, {"x": x})
        g.output("hidden", hidden)
        return g.finish("part", {"seed": "42"})

    model = build()
    assert [t.name for t in model.graph.initializer] == ["layers.0.weight.T"]
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Identity"]
    assert {p.key: p.value for p in model.metadata_props} == {"seed": "42"}
    assert model.SerializeToString(deterministic=True) == build().SerializeToString(deterministic=True)


def test_misuse_is_refused_with_a_hint():
    g = GraphBuilder()
    x, text = g.input("x", np.float32, ("b", D)), g.input("title", "string", ("b",))
    with pytest.raises(ExportError, match="no output"):
        g.finish("empty")
    with pytest.raises(ExportError, match="already has a value named 'x'"):
        g.output("x", x)
    with pytest.raises(ExportError, match="'title'") as error:
        g.lower(lambda p, v: v, None, {"title": text})
    assert "LabelEncoder" in error.value.hint
    with pytest.raises(ExportError, match="varies at run time") as error:
        g.lower(lambda p, v: v["x"] if v["x"].shape[0] > 3 else -v["x"], None, {"x": x})
    assert "vmap" in error.value.hint
