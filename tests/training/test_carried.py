"""Parameters and the optimiser's state between runs: after arrays as before, larger where tables are."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from shortlist.errors import SpecError
from shortlist.models.build import build
from shortlist.models.ensemble import restacked, stacked, unstacked
from shortlist.specs.features import Id
from shortlist.specs.models import MultiTask, Tower
from shortlist.specs.tasks import Rating, Retrieval
from shortlist.specs.training import Adagrad, Adam, Training
from shortlist.training.carried import Carried, from_arrays, grown, to_arrays
from shortlist.training.steps import OptimizerState, first_state

MODEL = MultiTask(
    Tower((Id("user_id", 3),), out=3),
    Tower((Id("item_id", 3),), out=3),
    tasks=(Retrieval(seen="row"), Rating(hidden=(2,))),
)
SIZES = {"query/user_id.id": 4, "candidate/item_id.id": 5}
LARGER = {"query/user_id.id": 6, "candidate/item_id.id": 5}


def carried(training: Training) -> Carried:
    """A fresh model whose optimiser's state holds numbers of its own."""
    params = stacked(lambda seed: build(MODEL, SIZES, means={"rating": 3.5}, seed=seed), training.seeds)
    state = first_state(params, training)
    count = iter(range(10_000))
    filled: OptimizerState = jax.tree.map(lambda x: x + next(count), state)
    return Carried(*params, filled)


def leaves(value: Any) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(value) if hasattr(x, "shape")]


def same(one: Any, other: Any) -> bool:
    pairs = zip(leaves(one), leaves(other), strict=True)
    return all(a.shape == b.shape and a.dtype == b.dtype and np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("training", [Training(), Training(optimizer=Adagrad(0.1), members=2)])
def test_arrays_and_back(training: Training) -> None:
    before = carried(training)
    # as files keep them: a number alone comes back as an array of one
    arrays = {name: np.atleast_1d(array) for name, array in to_arrays(before).items()}
    after = from_arrays(arrays, MODEL, SIZES, {}, training)
    assert same(after, before)
    assert jax.tree.structure(after) == jax.tree.structure(before)


def test_an_array_that_does_not_fit_is_named() -> None:
    arrays = to_arrays(carried(Training()))
    with pytest.raises(SpecError, match=r"table/query/user_id.id has the shape \(4, 3\), expected \(6, 3\)"):
        from_arrays(arrays, MODEL, LARGER, {}, Training())
    del arrays["net/0"]
    with pytest.raises(SpecError, match="net/0 is absent"):
        from_arrays(arrays, MODEL, SIZES, {}, Training())


@pytest.mark.parametrize("members", [1, 2])
def test_larger_tables_keep_their_rows_to_the_bit(members: int) -> None:
    training = Training(members=members)
    before = carried(training)
    after = grown(before, LARGER, training)
    for name, table in before.tables.items():
        old, new = np.asarray(table), np.asarray(after.tables[name])
        assert np.array_equal(new[..., : old.shape[-2], :], old)
        unknown = np.broadcast_to(
            old[..., :1, :], (*old.shape[:-2], new.shape[-2] - old.shape[-2], old.shape[-1])
        )
        assert np.array_equal(new[..., old.shape[-2] :, :], unknown)
        for was, now in zip(before.state.tables[name], after.state.tables[name], strict=True):
            assert np.array_equal(np.asarray(now)[..., : old.shape[-2], :], np.asarray(was))
            assert not np.asarray(now)[..., old.shape[-2] :, :].any()
    assert same(after.net, before.net)
    assert same(after.state.net, before.state.net)


def test_growth_copies() -> None:
    before = carried(Training())
    after = grown(before, SIZES, Training())
    kept = [x.copy() for x in leaves(before)]
    for x in jax.tree.leaves(after):
        if hasattr(x, "delete"):
            x.delete()  # as a step does with what it is given
    assert all(np.array_equal(a, b) for a, b in zip(kept, leaves(before), strict=True))


def test_another_kind_of_optimiser_starts_afresh() -> None:
    after = grown(carried(Training()), LARGER, Training(optimizer=Adagrad(0.1, initial_accumulator=0.5)))
    assert all((np.asarray(x) == 0.5).all() for parts in after.state.tables.values() for x in parts)
    assert int(after.state.step) == 0
    assert isinstance(Training().optimizer, Adam)


def test_members_side_by_side_and_back() -> None:
    params = carried(Training(members=2))[:2]
    assert same(restacked(*unstacked(*params, 2)), params)
