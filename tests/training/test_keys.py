"""Random bits are never used twice; update rules follow every setting of their specs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from shortlist.features.batches import Catalogue, Examples
from shortlist.models.build import build
from shortlist.specs.features import Id
from shortlist.specs.models import Ranker, Tower
from shortlist.specs.tasks import Rating
from shortlist.specs.training import Adagrad, Adam, Training
from shortlist.tasks.multitask import _draw
from shortlist.training import loop
from shortlist.training.optimizers import rule_of

# Bits


def drawn(dims: tuple[int, int, int], key: Any, rows: int = 6, items: int = 5) -> tuple[Any, ...]:
    net: Any = SimpleNamespace(noise_dims=dims)
    return tuple(None if part is None else np.asarray(part) for part in _draw(net, rows, rows, items, key))


def test_towers_and_heads_get_bits_of_their_own() -> None:
    parts = drawn((4, 4, 4), jax.random.key(3))
    assert [part.shape for part in parts] == [(6, 4), (5, 4), (6, 4)]
    together = np.concatenate([part.ravel() for part in parts])
    assert len(set(together.tolist())) == len(together)  # 64 numbers of 32 bits: a repeat is no accident
    again, other = drawn((4, 4, 4), jax.random.key(3)), drawn((4, 4, 4), jax.random.key(4))
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))
    assert not set(together.tolist()) & {n for part in other for n in part.ravel().tolist()}


def test_who_has_no_dropout_gets_no_bits() -> None:
    query, candidate, heads = drawn((0, 3, 2), jax.random.key(0))
    assert query is None and candidate.shape == (5, 3) and heads.shape == (6, 2)
    assert drawn((0, 0, 0), jax.random.key(0)) == (None, None, None)
    assert drawn((4, 4, 4), None) == (None, None, None)


def test_keys_differ_between_steps_epochs_and_seeds() -> None:
    keys = np.concatenate([loop._keys(seed, epoch, 0, 50) for seed in (0, 1) for epoch in range(4)])
    assert keys.shape == (400, 2) and keys.dtype == np.uint32
    assert len(np.unique(keys, axis=0)) == 400
    assert np.array_equal(loop._keys(1, 2, 0, 50)[20:], loop._keys(1, 2, 20, 30))


def test_every_step_of_a_run_drops_other_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows are one row and the rate is next to nothing: only dropout can tell two steps apart."""
    rows, batch_size, epochs = 16, 4, 3
    model = Ranker(
        Tower([Id("user_id", 32)], hidden=[32], out=4, dropout=0.3),
        Tower([Id("item_id", 4)], out=4),
        [Rating(hidden=[4])],
    )
    net, tables = build(
        model, {"query/user_id.id": 2, "candidate/item_id.id": 3}, means={"rating": 3.0}, seed=0
    )
    examples = Examples(
        {"user_id.id": np.ones(rows, np.int32)},
        np.zeros(rows, np.int32),
        {"rating": np.full(rows, 5.0, np.float32)},
        np.ones(rows, np.float32),
        np.zeros(rows, np.int32),
    )
    catalogue = Catalogue(
        {"item_id.id": np.array([1, 2], np.int32)},
        np.log(np.array([0.5, 0.5], np.float32)),
        np.zeros(2, np.int32),
        np.zeros(1, np.int32),
    )
    losses: list[float] = []
    compiled = loop.program

    class Listened(NamedTuple):
        run: Any
        scratch_bytes: int = 0

        def __call__(self, *arrays: Any) -> Any:
            out = self.run(*arrays)
            losses.extend(np.asarray(out[1]["rating"]).tolist())
            return out

    def program(*inputs: Any) -> Any:
        return Listened(compiled(*inputs))

    monkeypatch.setattr(loop, "program", program)
    course = Training(epochs=epochs, batch_size=batch_size, optimizer=Adam(1e-12))
    list(loop.train(net, tables, examples, catalogue, course, task_weights={"rating": 1.0}))
    assert len(losses) == epochs * rows // batch_size
    assert len(set(losses)) == len(losses)


# Update rules

GRADS = np.array([[0.5, -2.0, 1e-3], [-0.1, 3.0, 2e-3], [0.7, 0.4, -5e-3]], np.float64)


def updates(spec: Adam | Adagrad) -> np.ndarray:
    """What the rule adds to the parameters at a rate of 1, step after step."""
    rule = rule_of(spec)
    state, out = tuple(jnp.full(3, x) for x in rule.start), []
    for step, gradient in enumerate(GRADS, 1):
        update, state = rule.change(
            jax.device_put(np.asarray(gradient, np.float32)), state, jnp.float32(1), jnp.int32(step)
        )
        out.append(np.asarray(update))
    return np.stack(out)


@pytest.mark.parametrize(
    ("beta1", "beta2", "epsilon"),
    [(0.9, 0.999, 1e-8), (0.3, 0.999, 1e-8), (0.9, 0.6, 1e-8), (0.9, 0.999, 0.25), (0.5, 0.7, 0.03)],
)
def test_adam_is_the_papers(beta1: float, beta2: float, epsilon: float) -> None:
    expected = []
    m, v = np.zeros(3), np.zeros(3)
    for t, g in enumerate(GRADS, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        expected.append(-(m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon))
    found = updates(Adam(0.01, beta1=beta1, beta2=beta2, epsilon=epsilon))
    assert found == pytest.approx(np.stack(expected), rel=1e-4)


@pytest.mark.parametrize(
    ("start", "epsilon"), [(0.1, 1e-7), (0.0, 1e-7), (2.5, 1e-7), (0.1, 0.4), (0.7, 0.2)]
)
def test_adagrad_starts_where_it_is_told(start: float, epsilon: float) -> None:
    total = start + np.cumsum(GRADS**2, axis=0)
    found = updates(Adagrad(0.01, initial_accumulator=start, epsilon=epsilon))
    assert found == pytest.approx(-GRADS / np.sqrt(total + epsilon), rel=1e-4)


@pytest.mark.parametrize(
    ("spec", "peer"),
    [
        (Adam(0.01, beta1=0.8, beta2=0.95), optax.adam(0.01, b1=0.8, b2=0.95)),
        (Adagrad(0.1, initial_accumulator=0.3), optax.adagrad(0.1, initial_accumulator_value=0.3)),
    ],
)
def test_rules_are_those_of_optax(spec: Adam | Adagrad, peer: optax.GradientTransformation) -> None:
    rule = rule_of(spec)
    x, state = jnp.zeros(3), tuple(jnp.full(3, value) for value in rule.start)
    other, peers = x, peer.init(x)
    for step in range(1, 20):
        gradient = jax.device_put(np.asarray(np.random.default_rng(step).normal(size=3), np.float32))
        change, state = rule.change(gradient, state, jnp.float32(spec.learning_rate), jnp.int32(step))
        update, peers = peer.update(gradient, peers, other)
        x, other = x + change, optax.apply_updates(other, update)
    np.testing.assert_allclose(x, other, rtol=2e-5, atol=1e-6)
