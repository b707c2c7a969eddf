"""What a request leaves to choose from: exclude, only and where, for all its queries or one each.

Queries of equal only= and where= share one mask of the catalogue and are searched together; what is excluded
is a relation, as what was seen is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from shortlist._typing import Array, Bools, Longs
from shortlist.errors import FilterError, RequestError
from shortlist.pipeline.questions import Ids, Where, id_list, is_list
from shortlist.pipeline.where.masks import mask
from shortlist.state.catalogue import Items
from shortlist.state.seen import Seen

_KEPT_BYTES, _KEPT = 1 << 26, 1024  # masks that are remembered
_PAIRS = 1 << 20  # excluded pairs of a query and an item; beyond, items excluded for all are masked


class Group(NamedTuple):
    """Queries with one filter. rows: int64, which of the request's; None: all. allow: bool [N], the items
    left to choose from; None: all."""

    rows: Longs | None
    allow: Bools | None


class Chosen(NamedTuple):
    """The filters of a request. exclude: a row a query. listed: the most ids that `only` names; None: there
    is no `only`."""

    groups: list[Group]
    exclude: Seen | None
    listed: int | None


@dataclass(frozen=True, eq=False)
class _Each:
    """A filter's value for every query, or one for all."""

    values: list[Any]
    common: bool

    def __getitem__(self, query: int) -> Any:
        return self.values[0 if self.common else query]


class Filters:
    """The filters of one catalogue; masks of predicates are worked out once while they are in use."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._masks: OrderedDict[str, Bools] = OrderedDict()
        self._lock = Lock()

    def read(self, num: int, exclude: Ids | None, only: Ids | None, where: Where | None) -> Chosen:
        """The filters of a request of `num` queries.

        Raises RequestError for ids in `only` that are not in the catalogue, for lists that are not one a
        query and for values of another type; FilterError for a predicate. Both name the query.
        """
        if exclude is None and only is None and where is None:
            return Chosen([Group(None, None)], None, None)
        chosen = self._only(num, only)
        texts = _texts(num, where)
        without, hidden = self._exclude(num, exclude)
        alike: dict[Any, list[int]] = {}
        if chosen.common and texts.common:
            alike[_key(chosen[0], texts[0])] = []
        else:
            for query in range(num):
                alike.setdefault(_key(chosen[query], texts[query]), []).append(query)
        groups = []
        for queries in alike.values():
            first = queries[0] if queries else 0
            allow = self._allow(chosen[first], texts[first], hidden, None if texts.common else first)
            rows = np.array(queries, np.int64) if len(alike) > 1 else None
            groups.append(Group(rows, allow))
        listed = [len(positions) for positions in chosen.values if positions is not None]
        return Chosen(groups, without, max(listed) if listed else None)

    def where(self, text: str) -> Bools:
        """True [N] at the items a predicate is true of; it cannot be written to. FilterError."""
        with self._lock:
            found = self._masks.get(text)
            if found is not None:
                self._masks.move_to_end(text)
                return found
        found = mask(text, self._items)
        found.setflags(write=False)
        with self._lock:
            found = self._masks.setdefault(text, found)
            while len(self._masks) > min(_KEPT, max(8, _KEPT_BYTES // max(1, len(self._items)))):
                self._masks.popitem(last=False)
        return found

    def _allow(
        self, only: Longs | None, text: str | None, hidden: Longs | None, query: int | None
    ) -> Bools | None:
        allow = None
        if text is not None:
            try:
                allow = self.where(text)
            except FilterError as error:
                raise error if query is None else error.of_query(query) from None
        if only is not None:
            listed = np.zeros(len(self._items), np.bool_)
            listed[only] = True
            allow = listed if allow is None else listed & allow
        if hidden is not None:
            allow = np.ones(len(self._items), np.bool_) if allow is None else np.array(allow)
            allow[hidden] = False
        return allow

    def _only(self, num: int, only: Ids | None) -> _Each:
        given = _each("only", num, only)
        found: list[Longs | None] = []
        for query, ids in enumerate(given.values):
            if ids is None:
                found.append(None)
                continue
            name = "only" if given.common else f"only[{query}]"
            listed = id_list(name, ids)
            positions = self._items.positions(listed)
            if len(positions) and positions.min() < 0:
                self._require_known(name, listed, int(np.argmin(positions)))
            found.append(positions)
        return _Each(found, given.common)

    def _require_known(self, name: str, listed: Array, index: int) -> None:
        try:
            self._items.position(str(listed[index]))
        except RequestError as error:
            said = f"{name}: {error}"
            raise RequestError(said, hint=error.hint, argument="only", index=index) from None

    def _exclude(self, num: int, exclude: Ids | None) -> tuple[Seen | None, Longs | None]:
        """A row a query, or where these were too many, the positions that none may have."""
        given = _each("exclude", num, exclude)
        listed = []
        for query, ids in enumerate(given.values):
            name = "exclude" if given.common else f"exclude[{query}]"
            positions = self._items.positions(id_list(name, () if ids is None else ids))
            listed.append(positions[positions >= 0])
        if not any(map(len, listed)):
            return None, None
        if given.common and len(listed[0]) * num > _PAIRS:
            return None, listed[0]
        if given.common:
            listed = listed * num
        rows = np.repeat(np.arange(num), [len(positions) for positions in listed])
        return Seen.from_pairs(rows, np.concatenate(listed), num), None


def _key(only: Longs | None, where: str | None) -> tuple[bytes | None, str | None]:
    return None if only is None else only.tobytes(), where


def _each(name: str, num: int, given: Ids | None) -> _Each:
    """Ids for all queries, or a list for each. RequestError where it is neither."""
    if given is None or not is_list(given):
        return _Each([given], True)
    assert isinstance(given, Iterable)
    values = list(given)
    lists = [is_list(value) for value in values]
    if not any(lists):
        return _Each([values], True)
    single = [value is not None and not listed for value, listed in zip(values, lists, strict=True)]
    if any(single):
        at = single.index(True)
        raise RequestError(
            f"{name}[{at}]: expected a list of ids, as others are, got {values[at]!r}",
            hint=f"give {name} as ids for all queries, or as a list (or None) for each",
        )
    return _for_each(name, num, values)


def _for_each(name: str, num: int, values: list[Any]) -> _Each:
    if len(values) != num:
        raise RequestError(
            f"{name} is given for {len(values)} queries, but there are {num}",
            hint=f"give {name} once for all queries, or one for each",
        )
    return _Each(values, False)


def _texts(num: int, where: Where | None) -> _Each:
    if where is None or isinstance(where, str):
        return _Each([where], True)
    if not is_list(where) or isinstance(where, Mapping | set | frozenset):
        said = [f"{name} == {value!r}" for name, value in where.items()] if isinstance(where, Mapping) else []
        raise RequestError(
            f"where must be a text, got {where!r} ({type(where).__name__})",
            hint=f'for instance where="{" and ".join(said) or "year >= 1990"}"',
        )
    values = list(where)
    for query, text in enumerate(values):
        if text is not None and not isinstance(text, str):
            raise RequestError(f"where[{query}]: expected a text, got {text!r} ({type(text).__name__})")
    return _for_each("where", num, values)
