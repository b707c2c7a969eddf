"""Candidates of questions and what a ranker predicts of them, kept where they take long to make.

A model that reads the past retrieves and ranks by all that a user did. As long as neither the question, nor
what may not be recommended, nor how many are ranked differs, nor do the candidates: all that is left to do is
to order them. Every recommender has its own, so that another bundle or catalogue has others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from shortlist.features.kept import Kept
from shortlist.pipeline.encoded import keys_of, weight_of
from shortlist.pipeline.stages import Candidates
from shortlist.state.seen import Seen

if TYPE_CHECKING:
    from shortlist.pipeline.shortlists import Asked

MOST = 1 << 23
"""Numbers that are held: 32 MB."""
AT_ONCE = 256
"""Questions of one call, above which nothing is kept: who asks for that many asks for each once."""

Make = Callable[["Asked", Seen | None], Candidates]
"""Questions, and what each may not get -> their candidates with predictions."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """Candidates with predictions, by question, in the order of retrieval."""

    kept: Kept[Candidates] = field(default_factory=lambda: Kept(MOST), repr=False)

    def of(self, asked: Asked, hidden: Seen | None, fetch: int, make: Make) -> Candidates:
        """What `make` says of questions; it is asked for those that are not kept. fetch: how many candidates
        each has. Nothing else may change what `make` says."""
        if asked.unknown or not 0 < len(asked) <= AT_ONCE:
            return make(asked, hidden)
        keys = _keys(asked, hidden, fetch)
        found = {key: self.kept.get(key) for key in keys}
        new: dict[Any, int] = {}
        for row, key in enumerate(keys):
            if found[key] is None:
                new.setdefault(key, row)
        if len(new) == len(keys):
            made = make(asked, hidden)
        elif new:
            rows = np.array(list(new.values()))
            made = make(asked[rows], None if hidden is None else hidden.rows(rows))
        for place, key in enumerate(new):
            found[key] = own = _row(made, place)
            self.kept.put(key, own, _weight(own) + weight_of(key[0]) + len(key[-1]) // 4)
        return made if len(new) == len(keys) else _joined([found[key] for key in keys])


def _keys(asked: Asked, hidden: Seen | None, fetch: int) -> list[Any]:
    """Of each question what it says and what it may not get: equal of equal ones only."""
    if hidden is None:
        return [(key, fetch, b"") for key in keys_of(asked)]
    bounds, items = hidden.indptr.tolist(), hidden.indices
    return [
        (key, fetch, items[start:stop].tobytes())
        for key, start, stop in zip(keys_of(asked), bounds, bounds[1:], strict=False)
    ]


def _row(found: Candidates, row: int) -> Candidates:
    """A copy of one question's, which keeps no other's alive."""
    own = slice(row, row + 1)
    predictions = {head: values[own].copy() for head, values in found.predictions.items()}
    return Candidates(
        found.positions[own].copy(), found.log_p[own].copy(), found.popular[own].copy(), predictions
    )


def _weight(row: Candidates) -> int:
    return int(row.positions.size) * (2 + len(row.predictions))


def _joined(found: list[Candidates | None]) -> Candidates:
    rows = [row for row in found if row is not None]
    return Candidates(
        np.concatenate([row.positions for row in rows]),
        np.concatenate([row.log_p for row in rows]),
        np.concatenate([row.popular for row in rows]),
        {head: np.concatenate([row.predictions[head] for row in rows]) for head in rows[0].predictions},
    )
