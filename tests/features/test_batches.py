"""Fixed shapes, seeded order, sampling probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import DataError
from shortlist.features.batches import epoch_order, log_sampling_probability


@given(st.integers(1, 300), st.integers(1, 64), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_shows_each_row_once(rows: int, batch: int, seed: int, epoch: int) -> None:
    order = epoch_order(rows, batch, seed=seed, epoch=epoch)
    assert order.shape == (-(-rows // batch), batch)
    assert order.dtype == np.int32
    flat = order.reshape(-1)
    assert sorted(flat[:rows].tolist()) == list(range(rows))
    assert (flat[rows:] == -1).all()
    np.testing.assert_array_equal(order, epoch_order(rows, batch, seed=seed, epoch=epoch))


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    first = epoch_order(100, 10, seed=1, epoch=0)
    assert (first != epoch_order(100, 10, seed=1, epoch=1)).any()
    assert (first != epoch_order(100, 10, seed=2, epoch=0)).any()
    # the order does not depend on the batch size
    np.testing.assert_array_equal(first.reshape(-1), epoch_order(100, 25, seed=1, epoch=0).reshape(-1))


def test_sampling_probability_is_an_items_share_of_the_rows() -> None:
    log_q = log_sampling_probability(np.array([0, 2, 2, 2]), 4)
    np.testing.assert_allclose(np.exp(log_q), [0.25, 0.0, 0.75, 0.0], rtol=1e-6)
    assert log_q.dtype == np.float32
    assert np.isneginf(log_q[[1, 3]]).all()


def test_rows_count_equally_however_heavy_but_rows_of_no_weight_do_not() -> None:
    """A batch holds rows, not weights: what a heavy row's item meets as a negative is its row count."""
    weights = np.array([9.0, 1.0, 1.0, 0.0], np.float32)
    log_q = log_sampling_probability(np.array([0, 1, 1, 2]), 3, weights)
    np.testing.assert_allclose(np.exp(log_q), [1 / 3, 2 / 3, 0.0], rtol=1e-6)
    assert pytest.approx(1.0) == np.exp(log_q).sum()


def test_more_rows_than_places_count_are_refused_not_wrapped() -> None:
    with pytest.raises(DataError, match="2,147,483,648 rows cannot be held at once") as caught:
        epoch_order(2**31, 8192, seed=0, epoch=0)
    assert "stream" in caught.value.hint
