"""Ids that count as unknown while training: their vectors and biases are those of ids never seen."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from shortlist.errors import SpecError
from shortlist.features.encoder import Side
from shortlist.features.fitted import fit_feature
from shortlist.models.towers import UNKNOWN, gather
from shortlist.specs.features import Category, FeatureSpec, Id

ITEM, CITY = Id("item_id", 2, id_dropout=0.25), Category("city", 2)
TABLES = {
    "candidate/item_id.id": jax.device_put(np.arange(10.0).reshape(5, 2)),
    "candidate/item_id.id#rating": jax.device_put(10 * np.arange(5.0)[:, None]),
    "candidate/city.category": jax.device_put(-np.arange(10.0).reshape(5, 2)),
}
IDS = np.array([1, 2, 3, 4, -1], np.int32)
SHARES = np.array([0.0, 0.2499, 0.2501, 0.99, 0.1])  # of the range of a random word


def words(feature: FeatureSpec) -> Array | None:
    return jnp.asarray((SHARES * 2**32).astype(np.uint32)) if feature.key == ITEM.key else None


def test_a_dropped_id_is_the_unknown_one_with_its_bias_and_padding_stays_padding() -> None:
    encoded = {ITEM.key: jax.device_put(IDS), CITY.key: jax.device_put(IDS)}
    rows, left = gather(TABLES, (ITEM, CITY), "candidate", encoded, words)
    assert left[ITEM.key].tolist() == [0, 0, 3, 4, -1]
    np.testing.assert_array_equal(rows[ITEM.key][:4], TABLES["candidate/item_id.id"][np.array([0, 0, 3, 4])])
    assert rows[f"{ITEM.key}#rating"][:4, 0].tolist() == [0, 0, 30, 40]
    np.testing.assert_array_equal(rows[CITY.key][:4], TABLES["candidate/city.category"][1:])


def test_the_unknown_row_may_stand_elsewhere_as_it_does_among_touched_rows() -> None:
    encoded = {ITEM.key: jax.device_put(IDS), ITEM.key + UNKNOWN: jnp.asarray([4])}
    _, left = gather({}, (ITEM,), "candidate", encoded, words)
    assert {name: ids.tolist() for name, ids in left.items()} == {ITEM.key: [4, 4, 3, 4, -1]}


def test_nothing_is_dropped_when_not_training() -> None:
    _, left = gather({}, (ITEM,), "candidate", {ITEM.key: jax.device_put(IDS)}, lambda _: None)
    assert left[ITEM.key].tolist() == IDS.tolist()


def test_what_is_usual_leaves_an_encoder_as_it_was() -> None:
    ids = np.array(["a", "b"], object)
    plain, dropping = (Side((fit_feature(Id("item_id", id_dropout=x), ids),)).to_list() for x in (0.0, 0.1))
    assert "id_dropout" not in plain[0]["spec"]
    assert dropping[0]["spec"]["id_dropout"] == 0.1
    assert Side.from_list(dropping).to_list() == dropping


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(SpecError, match=r"Id\.id_dropout must lie in \[0, 1\)"):
        Id("item_id", id_dropout=share)
