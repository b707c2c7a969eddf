"""Neighbours of many: what a whole matrix of products and a stable sort say, ties included."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.pipeline import neighbours
from shortlist.pipeline.neighbours import nearest


@pytest.mark.parametrize("k", [1, 5, 60])
@pytest.mark.parametrize(("queries", "tile"), [(64, 8192), (3, 7), (1, 1), (10, 50)])
def test_tiles_find_what_all_products_say(
    k: int, queries: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "_QUERIES", queries)
    monkeypatch.setattr(neighbours, "_TILE", tile)
    unit = np.random.default_rng(k).integers(-2, 3, (50, 3)).astype(np.float32)  # small integers: ties
    asked = np.array([0, 49, 7, 7, 20, *range(30, 40)])
    scores = unit[asked] @ unit.T
    scores[np.arange(len(asked)), asked] = -np.inf
    wanted = np.argsort(-scores, axis=1, kind="stable")[:, : min(k, 49)]
    found = nearest(unit, asked, k)
    assert found.shape == (len(asked), k)
    np.testing.assert_array_equal(found[:, : wanted.shape[1]], wanted)
    assert (found[:, wanted.shape[1] :] == -1).all()


def test_one_vector_has_no_neighbours() -> None:
    assert nearest(np.ones((1, 2), np.float32), np.array([0]), 2).tolist() == [[-1, -1]]
