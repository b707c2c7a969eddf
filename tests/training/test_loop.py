"""The loop: same bits, padding, compilation once, the optimisers' rules, trouble named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shortlist.errors import NonFiniteLoss, SpecError, TrainingError
from shortlist.features.batches import Catalogue, Examples, epoch_order, log_sampling_probability
from shortlist.models.build import build
from shortlist.models.towers import register_tower
from shortlist.specs.features import Id, Normalize
from shortlist.specs.models import Model, MultiTask, Ranker, Tower
from shortlist.specs.tasks import Custom, Rating, Retrieval
from shortlist.specs.training import Adagrad, Adam, Training
from shortlist.tasks.multitask import Batch, Corpus, batch_loss, look
from shortlist.tasks.ranking import register_task
from shortlist.training import steps
from shortlist.training.loop import Compiled, EpochEnd, train
from shortlist.training.optimizers import FLOOR, schedule
from shortlist.training.steps import copied

USERS, ITEMS, ROWS = 6, 9, 50
SIZES = {"query/user_id.id": USERS + 1, "query/age.normalize": 1, "candidate/item_id.id": ITEMS + 1}
QUERY, CANDIDATE = Tower([Id("user_id", 4), Normalize("age")], out=4), Tower([Id("item_id", 4)], out=4)
JOINT = MultiTask(QUERY, CANDIDATE, [Retrieval(), Rating(hidden=[3])])


def rows(count: int = ROWS, seed: int = 0) -> tuple[Examples, Catalogue]:
    rng = np.random.default_rng(seed)
    users = rng.integers(0, USERS, count).astype(np.int32)
    items = rng.integers(0, ITEMS, count).astype(np.int32)
    query = {"user_id.id": users + 1, "age.normalize": rng.normal(size=(count, 1)).astype(np.float32)}
    labels = {"rating": rng.integers(1, 6, count).astype(np.float32)}
    examples = Examples(query, items, labels, np.ones(count, np.float32), users)
    known = [np.unique(items[users == u]) for u in range(USERS)]
    indptr = np.cumsum([0, *(len(k) for k in known)]).astype(np.int32)
    catalogue = Catalogue(
        {"item_id.id": np.arange(1, ITEMS + 1, dtype=np.int32)},
        log_sampling_probability(items, ITEMS),
        indptr,
        np.concatenate(known).astype(np.int32),
    )
    return examples, catalogue


def run(
    model: Model = JOINT,
    examples: Examples | None = None,
    weights: dict[str, float] | None = None,
    net: Any = None,
    **course: Any,
) -> list[EpochEnd]:
    made, catalogue = rows()
    training = Training(**{"epochs": 2, "batch_size": 16, "optimizer": Adam(0.01)} | course)
    parts = copied(net) if net else build(model, SIZES, means={"rating": 3.0}, seed=training.seed)
    weights = weights or {t.name: 1.0 for t in model.all_tasks if t.weight}
    events = []
    for event in train(*parts, examples or made, catalogue, training, task_weights=weights):
        # what an event lends is gone when the run goes on
        events.append(replace(event, live=event.params) if isinstance(event, EpochEnd) else event)
    assert isinstance(events[0], Compiled)
    assert all(isinstance(e, EpochEnd) for e in events[1:])
    return events[1:]


def leaves(event: EpochEnd) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(eqx.filter(event.params, eqx.is_array))]


def same(one: EpochEnd, other: EpochEnd) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


def test_same_seed_same_bits_and_another_seed_others() -> None:
    first, again, other = run(), run(), run(seed=43)
    for a, b in zip(first, again, strict=True):
        assert same(a, b)
        assert a.losses == b.losses
    assert not same(first[-1], other[-1])
    assert first[-1].losses != other[-1].losses


def test_events_tell_each_tasks_loss_and_keep_their_own_parameters() -> None:
    first, second = run()
    assert (first.epoch, second.epoch) == (0, 1)
    assert set(first.losses) == {"retrieval", "rating"}
    assert not same(first, second)
    assert second.losses["rating"] < first.losses["rating"]
    assert first.examples_per_second > 0


def test_the_first_epochs_loss_is_the_mean_over_examples_of_the_untrained_model() -> None:
    """With a rate of nearly nothing the loss of an epoch is the loss of the start, whatever the batches."""
    examples, _ = rows()
    weights = np.random.default_rng(1).uniform(0, 3, ROWS).astype(np.float32)
    weighted = Examples(examples.query, examples.candidates, examples.labels, weights, examples.users)
    model = Ranker(QUERY, CANDIDATE, [Rating(hidden=[])])
    net, tables = build(model, SIZES, means={"rating": 3.0}, seed=42)
    # biases are 0 and the head nearly so: what is left is the distance to the mean
    net = eqx.tree_at(lambda n: n.heads["rating"].mlp.last.weight, net, replace_fn=jnp.zeros_like)
    expected = np.average((examples.labels["rating"] - 3.0) ** 2, weights=weights)
    for batch_size in (ROWS, 16):
        ended = run(
            model, weighted, net=(net, tables), optimizer=Adam(1e-12), epochs=1, batch_size=batch_size
        )
        assert ended[0].losses["rating"] == pytest.approx(expected, rel=1e-5)


def test_the_padded_last_batch_learns_from_its_real_rows_only() -> None:
    examples, catalogue = rows()
    net, tables = build(JOINT, SIZES, means={"rating": 3.0}, seed=42)
    params = (net, tables)
    corpus = Corpus(*jax.tree.map(jax.device_put, (catalogue.items, catalogue.log_q)))

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(params: Any, at: np.ndarray, real: np.ndarray) -> Any:
        batch = Batch(
            {k: jax.device_put(v)[at] for k, v in examples.query.items()},
            jax.device_put(examples.candidates)[at],
            {k: jax.device_put(v)[at] for k, v in examples.labels.items()},
            jnp.asarray(real, jnp.float32),
            jax.device_put(examples.users)[at],
        )
        ones = {"retrieval": jnp.ones(()), "rating": jnp.ones(())}
        return batch_loss(params, batch, look(JOINT, batch, corpus), corpus, ones, key=None)[0]

    order = epoch_order(ROWS, 16, seed=42, epoch=0)[-1]
    cut = order[order >= 0]
    assert len(cut) < len(order)
    short = gradient(params, cut, np.ones(len(cut)))
    padded = gradient(params, np.maximum(order, 0), (order >= 0).astype(float))
    for a, b in zip(jax.tree.leaves(short), jax.tree.leaves(padded), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_task_weights_compile_nothing_anew() -> None:
    run(weights={"retrieval": 1.0, "rating": 1.0})
    known = len(steps._PROGRAMS)
    ended = run(weights={"retrieval": 0.3, "rating": 2.0})
    run(optimizer=Adam(0.02, schedule="cosine"), epochs=1)  # nor do the rate and the length of a run
    assert len(steps._PROGRAMS) == known
    assert not same(ended[-1], run()[-1])


def test_a_redefined_loss_is_not_the_old_one() -> None:
    """As in a notebook, where the function is edited and the cell run again."""
    model = Ranker(QUERY, CANDIDATE, [Custom("rating", hidden=[], loss="edited")])

    register_task("edited")(lambda pairs: (pairs.scores - pairs.labels) ** 2)
    squared = run(model, epochs=1)
    register_task("edited")(lambda pairs: jnp.abs(pairs.scores - pairs.labels))
    absolute = run(model, epochs=1)
    assert squared[0].losses["edited"] > absolute[0].losses["edited"]


def test_a_tower_with_functions_integers_and_settings_of_its_own() -> None:
    class Own(eqx.Module):
        linear: eqx.nn.Linear
        order: jax.Array
        activation: Callable[..., Any]
        slope: float

        def __call__(self, features: dict[str, Any], *, key: Any) -> Any:
            x = jnp.concatenate([features[k] for k in sorted(features)])[self.order]
            return self.slope * self.activation(self.linear(x))

    def made(activation: Callable[..., Any], slope: float) -> list[EpochEnd]:
        def own(widths: Any, out: int, *, key: Any) -> Any:
            size = sum(widths.values())
            return Own(eqx.nn.Linear(size, out, key=key), jnp.arange(size)[::-1], activation, slope)

        register_tower("own")(own)
        tower = Tower([Id("user_id", 4), Normalize("age")], out=4, layer="own")
        return run(Ranker(tower, CANDIDATE, [Rating(hidden=[])]), epochs=1)

    ended = made(jnp.tanh, 1.0)
    own = ended[0].params[0].query.custom
    assert own.slope == 1.0  # a setting, not a parameter
    assert own.order.tolist() == [4, 3, 2, 1, 0]
    assert ended[0].losses != made(jnp.sin, 1.0)[0].losses
    assert ended[0].losses != made(jnp.tanh, 0.5)[0].losses


@pytest.mark.parametrize("epsilon", [1e-7, 0.01])
def test_adagrad_is_the_rule_of_keras(epsilon: float) -> None:
    """sum += g^2; variable -= rate * g / sqrt(sum + epsilon); rows without a gradient stay."""
    examples, _ = rows()
    model = Ranker(Tower([Id("user_id", 4)]), Tower([Id("item_id", 4)]), [Rating(hidden=[], biases=False)])
    net, tables = build(model, SIZES, means={}, seed=42)
    ended = run(model, net=(net, tables), epochs=3, batch_size=20, optimizer=Adagrad(0.1, epsilon=epsilon))
    tables = {k: np.asarray(v, np.float64) for k, v in tables.items()}
    head = net.heads["rating"].mlp.last
    assert head is not None and head.bias is not None
    params = {
        **tables,
        "w": np.asarray(head.weight, np.float64)[:, 0],
        "b": np.asarray(head.bias, np.float64),
    }
    sums = {k: np.full_like(v, 0.1) for k, v in params.items()}
    for epoch in range(3):
        for at in epoch_order(ROWS, 20, seed=42, epoch=epoch):
            real = at[at >= 0]
            u, i = examples.query["user_id.id"][real], examples.candidates[real] + 1
            both = np.concatenate([params["query/user_id.id"][u], params["candidate/item_id.id"][i]], axis=1)
            slope = 2 * (both @ params["w"] + params["b"] - examples.labels["rating"][real]) / len(real)
            grads = {k: np.zeros_like(v) for k, v in params.items()}
            np.add.at(grads["query/user_id.id"], u, slope[:, None] * params["w"][:4])
            np.add.at(grads["candidate/item_id.id"], i, slope[:, None] * params["w"][4:])
            grads["w"], grads["b"] = slope @ both, slope.sum(keepdims=True)
            for k, g in grads.items():
                sums[k] += g**2
                params[k] = params[k] - 0.1 * g / np.sqrt(sums[k] + epsilon)
    found = ended[-1].params[1]
    for k in tables:
        np.testing.assert_allclose(found[k], params[k], atol=2e-5)
    np.testing.assert_array_equal(
        found["query/user_id.id"][0], tables["query/user_id.id"][0].astype(np.float32)
    )


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant"])
def test_schedules(kind: Any) -> None:
    steps = schedule(Adam(0.5, schedule=kind, warmup=0.1), 100)
    assert steps.shape == (100,)
    np.testing.assert_allclose(steps[:11], np.linspace(0, 0.5, 11), atol=1e-6)
    t = np.arange(90) / 90
    shape = {"cosine": (1 + np.cos(np.pi * t)) / 2, "linear": 1 - t, "constant": np.ones(90)}[kind]
    floor = 0 if kind == "constant" else FLOOR
    np.testing.assert_allclose(steps[10:], 0.5 * (floor + (1 - floor) * shape), atol=1e-5)


def test_no_rows() -> None:
    examples, catalogue = rows()
    empty = jax.tree.map(lambda x: x[:0], vars(examples))
    net, tables = build(JOINT, SIZES, means={}, seed=0)
    with pytest.raises(TrainingError, match="no training rows"):
        list(train(net, tables, Examples(**empty), catalogue, Training(), task_weights={}))


def test_a_batch_size_beyond_the_rows_is_one_batch() -> None:
    model = Ranker(QUERY, CANDIDATE, [Rating(hidden=[])])
    assert same(run(model, batch_size=10_000)[-1], run(model, batch_size=ROWS)[-1])


def spoiled(**changes: Any) -> Examples:
    examples, _ = rows()
    return Examples(**vars(examples) | changes)


def test_a_loss_that_is_no_number_names_step_task_and_feature() -> None:
    huge = np.zeros((ROWS, 1), np.float32)
    row = int(epoch_order(ROWS, 16, seed=42, epoch=0)[2, 5])
    huge[row] = 1e30
    examples = spoiled(query=rows()[0].query | {"age.normalize": huge})
    model = Ranker(QUERY, CANDIDATE, [Rating(hidden=[])])
    with pytest.raises(NonFiniteLoss) as caught:
        run(model, examples)
    message = str(caught.value)
    assert "task 'rating' became inf at step 2 (epoch 1, batch 3)" in message
    assert "query feature 'age.normalize', which reaches 1e+30" in message
    assert "Normalize or Bucket" in caught.value.hint


def test_huge_labels_are_suspects() -> None:
    labels = {"rating": np.full(ROWS, 1e30, np.float32)}
    with pytest.raises(NonFiniteLoss, match=r"task 'rating' .* the label 'rating' reaches 1e\+30"):
        run(examples=spoiled(labels=labels))


def test_updates_that_diverge_are_noticed_even_at_the_last_step() -> None:
    with pytest.raises(NonFiniteLoss, match="no feature stands out") as caught:
        run(optimizer=Adam(1e30), epochs=3)
    assert "learning rate" in caught.value.hint


def test_a_finite_loss_without_a_finite_gradient_is_noticed_at_the_last_step() -> None:
    register_task("rooted")(lambda pairs: jnp.sqrt(0 * pairs.scores))
    model = Ranker(QUERY, CANDIDATE, [Custom("rating", hidden=[], loss="rooted")])
    with pytest.raises(NonFiniteLoss, match="a parameter became NaN or infinite after"):
        run(model, epochs=1, batch_size=ROWS)


def test_a_loss_that_is_averaged_already_is_refused() -> None:
    register_task("averaged")(lambda pairs: jnp.mean(pairs.scores))
    model = Ranker(QUERY, CANDIDATE, [Custom("rating", hidden=[], loss="averaged")])
    with pytest.raises(
        SpecError, match=r"'averaged' gave losses of shape \(\), expected one an example, \(16,\)"
    ):
        run(model)
    with pytest.raises(SpecError, match="no task is registered as 'avraged'") as caught:
        run(Ranker(QUERY, CANDIDATE, [Custom("rating", hidden=[], loss="avraged")]))
    assert "did you mean 'averaged'?" in caught.value.hint


def test_bfloat16_products_change_the_run_a_little() -> None:
    full, half = run(epochs=3)[-1], run(epochs=3, precision="bfloat16")[-1]
    assert half.losses != full.losses
    for name, loss in full.losses.items():
        assert half.losses[name] == pytest.approx(loss, rel=0.02)
