"""What each row's user had before, in the form in which a batch finds it fastest.

Shapes: U users, N items of the catalogue, R rows, C candidate columns.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from shortlist.features.batches import Pasts
from shortlist.models.bags import Shared
from shortlist.specs.features import AsOf, Bag
from shortlist.tasks.known import marked, scattered

NEVER = 2**31 - 1
"""The place of an item a user never had."""
NEVER_SMALL = int(np.iinfo(np.int16).max)
"""The same where places are kept in 16 bits; no real place is as large."""


class PastTables(eqx.Module):
    """Users' distinct items in the order of time, in one of two forms.

    order: int [U + 1, N], the place of every item among its user's (NEVER where there is none; the last row
    is of users not known), where that is not too large. indptr int [U + 1], items int [nnz]: the lists
    themselves. slots: bag's feature key -> int [N], rows of its table. residuals: key -> float [U + 1, N].
    longest: no user has more items.
    """

    order: Array | None
    indptr: Array | None
    items: Array | None
    slots: dict[str, Array]
    residuals: dict[str, Array]
    longest: int = eqx.field(static=True, default=NEVER)

    def had(self, users: Array, past: Array, as_of: AsOf) -> Array:
        """bool [R, N]: what rows' users int [R] had, as of rows that stand at past int [R, 3]."""
        assert self.order is not None
        place = self.order[jnp.where(users < 0, self.order.shape[0] - 1, users)].astype(jnp.int32)
        if as_of == "row":
            return place < past[:, :1]
        return (place < past[:, 1:2]) & (place != past[:, 2:])

    def _after(self, users: Array, past: Array, as_of: AsOf) -> Array:
        """int [R, N]: how many of those a row sees came after each."""
        assert self.order is not None
        place = self.order[jnp.where(users < 0, self.order.shape[0] - 1, users)].astype(jnp.int32)
        if as_of == "row":
            return past[:, :1] - 1 - place
        own = (place < past[:, 2:]) & (past[:, 2:] < past[:, 1:2])  # the own one is stepped over
        return past[:, 1:2] - 1 - place - own

    def had_columns(
        self,
        users: Array,
        past: Array,
        as_of: AsOf,
        columns: Array | None,
        column_of: Array,
        num_columns: int,
    ) -> Array:
        """The same for columns int [C] (None: all of the catalogue, in its order): bool [R, C]. column_of int
        [N]: each item's column, C or more where it has none."""
        if self.order is not None:
            had = self.had(users, past, as_of)
            return had if columns is None else had[:, columns]
        assert self.indptr is not None and self.items is not None
        start = self.indptr[jnp.maximum(users, 0)]
        length = jnp.where(users < 0, 0, past[:, 0] if as_of == "row" else past[:, 1])
        skip = None if as_of == "row" else past[:, 2]
        words = scattered(self.items, start, length, column_of, num_columns, skip)
        return marked(words, jnp.arange(users.shape[0]))

    def bag(self, key: str, users: Array, past: Array, as_of: AsOf, length: int = NEVER) -> Array:
        """Weights [R, N] of a bag's items: 1, or the residual, over sqrt(1 + how many). Only the last
        `length` of what rows' users had count."""
        had = self.had(users, past, as_of)
        if length < self.longest:
            had &= self._after(users, past, as_of) < length
        scale = jax.lax.rsqrt(1.0 + had.sum(axis=1, keepdims=True))
        weight: Any = scale
        if key in self.residuals:
            table = self.residuals[key]
            weight = table[jnp.where(users < 0, table.shape[0] - 1, users)] * scale
        return jnp.where(had, weight, 0.0)

    def weights(self, bag: Bag, users: Array, past: Array, own: Array) -> tuple[Array | Shared, Array | None]:
        """A bag's weights of rows whose own items are own int [R], in the cheaper of two forms; and the
        table's row of each column, where the first does not say so itself."""
        assert self.order is not None
        groups, slots = self.order.shape[0], self.slots[bag.key]
        plain = not (bag.event_dropout or bag.l2) and self.longest <= bag.length
        if bag.as_of == "row" or not plain or groups >= users.shape[0]:
            return self.bag(bag.key, users, past, bag.as_of, bag.length), slots
        # a row that sees nothing is of nobody: its user's bag is not its own
        user = jnp.where((users < 0) | (past[:, 1] == 0), groups - 1, users)
        table = (self.order < (NEVER_SMALL if self.order.dtype == jnp.int16 else NEVER)).astype(jnp.float32)
        if bag.key in self.residuals:
            table = self.residuals[bag.key]
        inside = (past[:, 2] >= 0) & (past[:, 2] < past[:, 1])  # a row of the log is one of its user's
        weight = jnp.where(inside, table[user, own], 0.0)
        scale = jax.lax.rsqrt(1.0 + past[:, 1] - inside)
        return Shared(table, user, own, weight, scale, slots), None


def past_tables(pasts: Pasts, num_items: int) -> PastTables:
    """Users' pasts on the device."""
    if not pasts.spreads(num_items):
        items = pasts.items if len(pasts.items) else np.zeros(1, np.int32)
        listed: Any = jax.device_put((pasts.indptr, items))
        return PastTables(None, listed[0], listed[1], {}, {})
    order = pasts.table(pasts.order, num_items, NEVER)
    longest = int(pasts.order.max(initial=0)) + 1
    if longest < NEVER_SMALL:
        order = np.minimum(order, NEVER_SMALL).astype(np.int16)
    residuals = {key: pasts.table(values, num_items, 0.0) for key, values in pasts.residuals.items()}
    placed: Any = jax.device_put((order, pasts.slots, residuals))
    return PastTables(placed[0], None, None, placed[1], placed[2], longest)


class SeenBefore(eqx.Module):
    """What to add to the scores of items a row's user had before. columns: int [C] or None, as above."""

    tables: PastTables
    past: Array
    columns: Array | None
    as_of: AsOf = eqx.field(static=True)
