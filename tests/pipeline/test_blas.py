"""Matrix products on one thread for a while, and on as many as before afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.pipeline.blas import _switches, one_thread


def test_one_thread_for_a_while() -> None:
    found = _switches()
    if found is None:
        pytest.skip("NumPy brings no OpenBLAS of its own here")
    before = found[0]()
    with pytest.raises(RuntimeError), one_thread():
        assert found[0]() == 1
        assert (np.ones((64, 64)) @ np.ones((64, 64)) == 64).all()
        raise RuntimeError
    assert found[0]() == before


def test_blocks_that_overlap_give_back_what_the_first_one_found() -> None:
    found = _switches()
    if found is None:
        pytest.skip("NumPy brings no OpenBLAS of its own here")
    told, tell = found
    before = told()
    tell(2)
    try:
        first, second = one_thread(), one_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert told() == 1, "the second one still runs"
        second.__exit__(None, None, None)
        assert told() == 2
    finally:
        tell(before)
