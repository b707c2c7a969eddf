from __future__ import annotations

import pytest

from shortlist.data.dataset import Dataset
from shortlist.data.movielens import movielens


@pytest.fixture(scope="session")
def movielens_100k() -> Dataset:
    """The real data, from the cache or fetched once."""
    return movielens("100k")
