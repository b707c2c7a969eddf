"""A recommender whose items come and go while it answers.

Every operation makes a new recommender, which shares what did not change with the one before. Whoever answers
holds one of them and sees all of it: ids, columns, vectors and representations of one version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, NamedTuple

import msgspec

from shortlist._typing import Columns
from shortlist.errors import BundleCorrupted, BundleError, ShortlistError
from shortlist.pipeline.arrivals import Table, added, read_items, remove_items
from shortlist.pipeline.questions import Ids, id_list
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.slate import plain_values
from shortlist.state.journal import Journal, Record


class Add(msgspec.Struct, frozen=True, tag="add"):
    """Items added: columns by name, a value a row, item_id among them."""

    columns: dict[str, list[Any]]
    replace: bool = False


class Remove(msgspec.Struct, frozen=True, tag="remove"):
    """Items removed."""

    ids: list[str]


Operation = Add | Remove
_DECODER: msgspec.json.Decoder[Operation] = msgspec.json.Decoder(Operation)


class Version(NamedTuple):
    """A recommender, and the number of the last operation that is in it."""

    number: int
    recommender: Recommender


class Store(NamedTuple):
    """Where a live recommender's operations go and come from; whoever knows bundles gives it.

    changed: what there is since this version, or None where there is nothing. journal: of a writer. still:
    raises where the folder is no more the one that was opened. compact: writes this version as a bundle of
    its own, with an empty journal, and gives what is loaded from there.
    """

    changed: Callable[[Version], Version | None]
    journal: Journal | None = None
    still: Callable[[], None] = lambda: None
    compact: Callable[[Version], tuple[Version, Store]] | None = None
    close: Callable[[], None] = lambda: None


@dataclass(eq=False)
class Live:
    """A bundle's recommender and the operations since, of which every one that returned is on disk.

    Made by `shortlist.open_live`. Any number of threads may read while one writes; writers wait for each
    other. path: the bundle's folder. dropped: bytes of an operation that was being written when a process
    ended, which nobody was told of, and which were left out.
    """

    path: Path
    now: Version
    store: Store = field(repr=False)
    dropped: int = 0
    _writing: RLock = field(default_factory=RLock, repr=False)

    @property
    def recommender(self) -> Recommender:
        """The recommender as it is now. Hold on to one to ask it several things of one version."""
        return self.now.recommender

    @property
    def version(self) -> int:
        """The number of the last operation; 0 where there was none."""
        return self.now.number

    def add_items(self, table: Table, *, item: str = "", replace: bool = False) -> int:
        """Add, bring back or (with replace=True) update items, as `Recommender.add_items`; the version that
        has them. When it returns they are on disk and in the answers.

        Raises as that does, BundleError where this was opened to read, and OSError where nothing could be
        written; the items are not there then.
        """
        with self._writing:
            before = self.now.recommender
            source = before.provenance.get("recipe", {}).get("data", {})
            given = read_items(table, before.items, before.schema, item, source)
            after = added(before, given, replace_known=replace)
            plain = {name: plain_values(column) for name, column in given.items()}
            return self._commit(Add(plain, replace), after)

    def remove_items(self, ids: Ids) -> int:
        """Remove items, as `Recommender.remove_items`; the version that lacks them: the one there is, where
        all are removed already. Raises as `add_items`."""
        with self._writing:
            listed = id_list("ids", ids).tolist()
            after = remove_items(self.now.recommender, listed)
            if after is self.now.recommender:
                return self.now.number
            return self._commit(Remove(listed), after)

    def _commit(self, operation: Operation, after: Recommender) -> int:
        if self.store.journal is None:
            raise BundleError(f"{self.path} was opened to read", hint="open_live(..., write=True)")
        self.store.still()
        number = self.store.journal.append(msgspec.json.encode(operation))
        self.now = Version(number, after)  # one assignment: readers see all of it, or the version before
        return number

    def refresh(self) -> int:
        """See what another process has written since; the version there is now. A writer sees it all anyway.

        Raises as `open_live`; the version there was stays in use then.
        """
        with self._writing:
            self.now = self.store.changed(self.now) or self.now
            return self.now.number

    def compact(self, change: Callable[[Recommender], Recommender] | None = None) -> int:
        """Write the bundle anew with all operations in it, in the place of the one there was, and begin an
        empty journal; the version, which stays. What is interrupted leaves all as it was.

        change: what to make of the recommender first, such as giving it another index of the same items.

        Raises BundleError where this was opened to read or the bundle cannot be written.
        """
        with self._writing:
            if self.store.compact is None:
                raise BundleError(f"{self.path} was opened to read", hint="open_live(..., write=True)")
            self.store.still()
            recommender = self.now.recommender if change is None else change(self.now.recommender)
            self.now, self.store = self.store.compact(Version(self.now.number, recommender))
            return self.now.number

    def close(self) -> None:
        """Let another process write. The recommender still answers."""
        with self._writing:
            self.store.close()

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def replayed(version: Version, records: list[Record], name: str) -> Version:
    """A version with more operations. BundleCorrupted, naming the file, where one cannot be done."""
    for record in records:
        try:
            recommender = _done(_DECODER.decode(record.payload), version.recommender)
        except (msgspec.MsgspecError, ShortlistError) as error:
            raise BundleCorrupted(
                f"{name}, operation {record.number}: {error}", hint="bring the file back from a copy"
            ) from error
        version = Version(record.number, recommender)
    return version


def added_ids(records: list[Record]) -> set[str]:
    """The items that operations which were done added or updated, whatever became of them later."""
    done = [_DECODER.decode(record.payload) for record in records]
    return {name for one in done if isinstance(one, Add) for name in one.columns["item_id"]}


def _done(operation: Operation, before: Recommender) -> Recommender:
    if isinstance(operation, Remove):
        return remove_items(before, operation.ids)
    given: Columns = read_items(operation.columns, before.items, before.schema, "item_id")
    return added(before, given, replace_known=operation.replace)
