"""Members trained side by side: each as it would be alone, and one model whose answers are their means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import msgspec
import numpy as np
import polars as pl
import pytest

import shortlist as sl
from shortlist.api.fitting import Fitted, fit
from shortlist.data import splits
from shortlist.data.dataset import Dataset
from shortlist.data.splits import Split
from shortlist.errors import SpecError, TrainingError
from shortlist.features.batches import Catalogue, Examples, log_sampling_probability
from shortlist.models.build import build
from shortlist.models.ensemble import Ensemble, stacked, unstacked
from shortlist.models.scorer import JaxScorer
from shortlist.models.towers import register_tower
from shortlist.specs.features import Id, Text
from shortlist.specs.models import Model, MultiTask, Ranker, Tower
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.specs.training import Adagrad, Adam, Training
from shortlist.training.cost import training_cost
from shortlist.training.loop import EpochEnd, train

USERS, ITEMS, WORDS, ROWS = 60, 90, 40, 100
SIZES = {"query/user_id.id": USERS + 1, "candidate/item_id.id": ITEMS + 1, "candidate/title.text": WORDS}


class Gate(eqx.Module):
    """A tower of one's own, with a function and whole numbers beside its parameters."""

    weight: jax.Array
    order: jax.Array
    function: Any
    slope: float

    def __call__(self, features: dict[str, jax.Array], *, key: jax.Array | None) -> jax.Array:
        return self.function(self.slope * features["user_id.id"][self.order] @ self.weight)


@register_tower("gate")
def gate(widths: dict[str, int], out: int, *, key: jax.Array, drawn: bool = False) -> Any:
    weight = jax.random.normal(key, (widths["user_id.id"], out))
    slope = float(weight[0, 0]) if drawn else 1.0
    return Gate(weight, jnp.arange(4)[::-1], lambda x: jnp.tanh(x), slope)  # a function of each member's own


def model(**own: Any) -> MultiTask:
    """A tower of one's own, a bag, biases, dropout in a tower and in a head."""
    return MultiTask(
        Tower([Id("user_id", 4)], out=4, layer="gate", options=own),
        Tower([Id("item_id", 4, dropout=0.2), Text("title", 99, 4, length=5)], out=4),
        [Retrieval(item_bias=True, learned_temperature=True), Rating(hidden=[3], dropout=0.1)],
    )


PAIRS = Ranker(Tower([Id("user_id", 4)]), Tower([Id("item_id", 4)]), [Rating(hidden=[], biases=False)])


def data() -> tuple[Examples, Catalogue]:
    rng = np.random.default_rng(0)
    users = rng.integers(0, USERS, ROWS).astype(np.int32)
    items = rng.integers(0, ITEMS, ROWS).astype(np.int32)
    labels = {"rating": rng.integers(1, 6, ROWS).astype(np.float32)}
    examples = Examples({"user_id.id": users + 1}, items, labels, np.ones(ROWS, np.float32), users)
    words = rng.integers(-1, WORDS, (ITEMS, 5)).astype(np.int32)
    features = {"item_id.id": np.arange(1, ITEMS + 1, dtype=np.int32), "title.text": words}
    empty = np.zeros(USERS + 1, np.int32)
    return examples, Catalogue(features, log_sampling_probability(items, ITEMS), empty, empty[:1])


def trained(spec: Model, course: Training) -> EpochEnd:
    net, tables = stacked(lambda seed: build(spec, SIZES, means={"rating": 3.0}, seed=seed), course.seeds)
    weights = {task.name: 1.0 for task in spec.all_tasks}
    *_, ended = train(net, tables, *data(), course, task_weights=weights)
    assert isinstance(ended, EpochEnd)
    return ended


def arrays(params: Any) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(params) if eqx.is_array(x)]


def test_each_member_is_the_net_trained_alone_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the same batches; tables updated whole. Losses are the members' means."""
    course = Training(epochs=2, batch_size=16, optimizer=Adagrad(0.1), tables="dense", members=3)
    together, losses = trained(PAIRS, course), []
    for k, seed in enumerate(course.seeds):
        monkeypatch.setattr(Training, "seeds", (seed,))
        alone = trained(PAIRS, msgspec.structs.replace(course, members=1))
        losses.append(alone.losses["rating"])
        for found, expected in zip(arrays(together.live), arrays(alone.live), strict=True):
            np.testing.assert_allclose(found[k], expected, rtol=1e-4, atol=2e-5)
    assert together.losses["rating"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_seeds_of_members() -> None:
    assert Training(seed=7).seeds == (7,)
    assert Training(seed=7, members=3).seeds[0] == 7
    near = [seed for start in range(50) for seed in Training(seed=start, members=20).seeds]
    assert len(set(near)) == len(near)  # neighbouring ensembles share no member
    assert min(near) >= 0 and max(near) < 2**31
    with pytest.raises(SpecError, match="members"):
        Training(members=0)


def test_members_that_differ_in_more_than_arrays_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"seeds 1 and 2 differ in more"):
        stacked(lambda seed: build(model(drawn=True), SIZES, means={}, seed=seed), (1, 2))


def test_the_cost_of_members() -> None:
    one, three = (
        training_cost(model(), SIZES, *data(), Training(batch_size=16, members=members)) for members in (1, 3)
    )
    assert three.parameters == 3 * one.parameters
    sizes = [{part.what: part.nbytes for part in cost.parts} for cost in (one, three)]
    assert sizes[1]["layers"] == 3 * sizes[0]["layers"]
    assert sizes[1]["rows on the device"] == sizes[0]["rows on the device"]


# The model they make together


@pytest.fixture(scope="module")
def split() -> Split:
    rng = np.random.default_rng(1)
    rows = pl.DataFrame(
        {
            "user_id": [f"u{i}" for i in rng.integers(0, 20, 300)],
            "item_id": [f"i{i}" for i in rng.integers(0, 30, 300)],
            "rating": rng.integers(1, 6, 300).astype(float),
        }
    ).unique(["user_id", "item_id"], maintain_order=True)
    items = pl.DataFrame(
        {"item_id": [f"i{i}" for i in range(30)], "title": [f"A {i % 7} b" for i in range(30)]}
    )
    users = rows.select("user_id").unique(maintain_order=True)
    return splits.random(Dataset(rows, users, items, "tiny"), test=0.2, validation=0.1, seed=1)


COURSE = Training(epochs=2, batch_size=64, optimizer=Adam(0.02), tables="sparse", members=2)


@pytest.fixture(scope="module")
def fitted(split: Split) -> Fitted:
    return fit(model(), split, training=COURSE)


def members_of(fitted: Fitted) -> list[JaxScorer]:
    """Each member as a model of its own."""
    net = fitted.scorer.net
    assert isinstance(net, Ensemble)
    scorers = []
    for k, member in enumerate(net.members):
        own = {n.replace(f"/{k}/", "/"): x for n, x in fitted.scorer.tables.items() if f"/{k}/" in n}
        scorers.append(JaxScorer(member, own, fitted.scorer.encoder))
    return scorers


def test_each_member_is_the_model_fitted_alone_with_its_seed(
    fitted: Fitted, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own first parameters and its own dropout; touched rows alone are updated."""
    one, two = members_of(fitted)
    for member, seed in zip((one, two), COURSE.seeds, strict=True):
        monkeypatch.setattr(Training, "seeds", (seed,))
        alone = fit(model(), split, training=msgspec.structs.replace(COURSE, members=1)).scorer
        found, expected = (arrays((scorer.net, scorer.tables)) for scorer in (member, alone))
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-5)
    differ = [np.abs(a - b).max() for a, b in zip(*(s.tables.values() for s in (one, two)), strict=True)]
    assert min(differ) > 1e-3


def test_scores_and_predictions_are_the_members_means(fitted: Fitted) -> None:
    encoded = fitted.scorer.encoder.query.encode({"user_id": np.array(["u1", "u2", "nobody"], object)})
    catalogue = fitted.prepared.catalogue.items

    def answers(scorer: JaxScorer) -> tuple[np.ndarray, np.ndarray]:
        query, vectors = scorer.represent("query", encoded)
        items, item_vectors = scorer.represent("candidate", catalogue)
        assert vectors is not None and item_vectors is not None
        return vectors @ item_vectors.T, scorer.predict(query, items[[3, 5, 7]])["rating"]

    (one, two), together = [answers(s) for s in members_of(fitted)], answers(fitted.scorer)
    for mean, a, b in zip(together, one, two, strict=True):
        assert np.abs(a - b).max() > 1e-3
        np.testing.assert_allclose(mean, (a + b) / 2, rtol=1e-4, atol=1e-5)
    assert {"validation ndcg@10", "validation rmse of rating"} <= set(fitted.history)


def test_a_bundle_answers_as_the_ensemble_does(fitted: Fitted, tmp_path: Path) -> None:
    """Writing it compares each graph with JAX."""
    before = fitted.recommender(rating_weight=0.5)
    before.save(tmp_path / "bundle")
    after = sl.load(tmp_path / "bundle")
    for user in ("u1", "nobody"):
        slates = [r.recommend({"user_id": user}, k=5) for r in (before, after)]
        assert slates[0]["item_id"].tolist() == slates[1]["item_id"].tolist()
        np.testing.assert_allclose(slates[0]["score"], slates[1]["score"], rtol=1e-5)


def test_a_learned_bonus_is_the_members_mean() -> None:
    spec = MultiTask(Tower([Id("user_id", 4)]), Tower([Id("item_id", 4)]), [Retrieval(seen="row"), Rating()])
    params = stacked(lambda seed: build(spec, SIZES, means={}, seed=seed), (1, 2))
    net = eqx.tree_at(lambda n: n.seen, params[0], jnp.array([1.0, 2.0]))
    together, tables = unstacked(net, params[1], 2)
    assert together.seen is not None and float(together.seen) == 1.5
    assert sorted(tables)[:2] == ["candidate/0/item_id.id", "candidate/0/item_id.id#rating"]
