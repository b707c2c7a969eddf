"""Array aliases and the few protocols that let the learning and the serving column meet.

Shape letters used in docstrings: n rows, b queries of a batch, N items of the catalogue,
U users, d vector width, r representation width, k a cut-off.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]

Columns = dict[str, Array]
"""A table as NumPy columns: strings as object arrays ("" missing), int64 (smallest value missing),
float64 (NaN missing), multi-valued strings as object [n, L] padded with "", vectors as float32 [n, size]
(a missing row is all NaN)."""

MISSING_INT = int(np.iinfo(np.int64).min)


class Scorer(Protocol):
    """A trained model seen from outside: raw columns in, arrays out. JAX and ONNX both meet it."""

    def encode_query(self, columns: Any) -> tuple[Floats, Floats | None]:
        """Query representations [b, r] and, where the model retrieves, query vectors [b, d], of Columns whose
        lists of past items may be coded (`data.coded.Table`)."""
        ...

    def encode_candidate(self, columns: Any) -> tuple[Floats, Floats | None]:
        """Candidate representations [n, r] and, where the model retrieves, item vectors [n, d]."""
        ...

    def predict(
        self, query: Floats, candidate: Floats, aggregates: dict[str, Floats] | None = None
    ) -> dict[str, Floats]:
        """One output [n] a head (such as "rating") for pairs of representations [n, r] and the aggregates
        [n, F] of heads that have any."""
        ...
