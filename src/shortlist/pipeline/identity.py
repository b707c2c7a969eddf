"""What decides a recommender's answers, as one hash.

All of a recommender is walked, field by field and into what the fields hold, so that what is added to it, to
its items, users, index or events, counts without being listed. What does not count is listed here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import msgspec
import numpy as np

from shortlist._typing import Array

if TYPE_CHECKING:
    from shortlist.pipeline.onnx_graphs import Snapshot
    from shortlist.pipeline.recommender import Recommender

NOT_ANSWERS = frozenset({"writer"})
"""Fields of a recommender on which no answer depends."""
_SCORERS = ("retriever", "ranker")
_OF_A_SCORER = ("encoder_hash", "encoder", "stored", "net", "tables")
"""What scorers answer with. Of one that has none of these only its type counts: what it made of the items is
in the recommender."""

_files: WeakKeyDictionary[Snapshot, bytes] = WeakKeyDictionary()  # each is read once


def fingerprint(recommender: Recommender) -> str:
    """A hash of what decides a recommender's answers: the items with their columns, popularity and vectors,
    which were removed, the users with their columns and pasts, the models, the index and its settings, the
    order, and where all of it is from. The same in every process."""
    walk = _Walk()
    for field in fields(recommender):
        if field.name in NOT_ANSWERS:
            continue
        value = getattr(recommender, field.name)
        walk.put(field.name)
        if field.name in _SCORERS and value is not None:
            walk.put(_type(value))
            value = {name: getattr(value, name, None) for name in _OF_A_SCORER}
        walk.put(value)
    return walk.digest.hexdigest()


class _Walk:
    """Values one after the other into one hash, each after its kind and size, so that no two sequences of
    values are the same bytes; arrays that several fields share are read once."""

    def __init__(self) -> None:
        self.digest = blake2b(digest_size=32)
        self._read: dict[int, tuple[Array, bytes]] = {}

    def put(self, value: Any) -> None:
        if hasattr(value, "content"):  # a graph or its weights, as they were when the bundle was opened
            self._bytes("file", _file(value))
        elif (known := getattr(value, "content_hash", None)) is not None:
            self._bytes("hashed", str(known).encode())
        elif isinstance(value, msgspec.Struct):
            self._named(_type(value), msgspec.structs.asdict(value))
        elif is_dataclass(value) and not isinstance(value, type):
            named = {field.name: getattr(value, field.name) for field in fields(value)}
            self._named(_type(value), {name: of for name, of in named.items() if not name.startswith("_")})
        elif isinstance(value, bytes):
            self._bytes("bytes", value)
        elif isinstance(value, list | tuple | Mapping | Set):
            self._many(value)
        elif hasattr(value, "__array__"):
            self._array(value)
        else:
            self._bytes("plain", _plain(value).encode())

    def _named(self, kind: str, values: Mapping[Any, Any]) -> None:
        self._bytes(kind, str(len(values)).encode())
        for name, value in sorted(values.items(), key=lambda pair: str(pair[0])):
            self.put(str(name))
            self.put(value)

    def _many(self, values: Any) -> None:
        try:  # plain values at once, such as a million ids
            self._bytes("plain", json.dumps(values, sort_keys=True).encode())
            return
        except TypeError:
            pass
        if isinstance(values, Mapping):
            self._named("mapping", values)
            return
        self._bytes("list", str(len(values)).encode())
        for value in sorted(values, key=repr) if isinstance(values, Set) else values:
            self.put(value)

    def _array(self, value: Any) -> None:
        array = np.asarray(value)
        if array.dtype.kind == "O":
            self._many(array.tolist())
            return
        if (known := self._read.get(id(value))) is None:
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            known = self._read[id(value)] = value, blake2b(flat.data, digest_size=32).digest()
        self._bytes(f"{array.dtype.str} {array.shape}", known[1])

    def _bytes(self, kind: str, data: bytes) -> None:
        self.digest.update(f"{kind} {len(data)}:".encode())
        self.digest.update(data)


def _file(snapshot: Snapshot) -> bytes:
    found = _files.get(snapshot)
    if found is None:
        found = _files[snapshot] = blake2b(snapshot.content, digest_size=32).digest()
    return found


def _plain(value: Any) -> str:
    """A text, a number or None; of functions and libraries' own objects the name, since their texts hold the
    places they have in this process."""
    if value is None or isinstance(value, bool | int | float | str):
        return json.dumps(value)
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', None) or _type(value)}"


def _type(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
