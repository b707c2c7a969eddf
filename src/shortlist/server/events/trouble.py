"""What can go wrong with a store of events."""

from __future__ import annotations

from shortlist.errors import ShortlistError


class StoreError(ShortlistError):
    """Events cannot be kept or read."""


class StoreCorrupted(StoreError):
    """A store's file is damaged, or is no store of events."""


class StoreVersion(StoreError):
    """A store was written by a newer, incompatible version."""


class StoreFull(StoreError):
    """There is no room left for events: none of those given was kept."""


class Stopping(StoreError):
    """Events are no longer taken: those given were not."""


class Overloaded(StoreError):
    """Too many events wait to be written: none of those given was taken. retry_after: seconds, at least 1,
    after which there may be room."""

    def __init__(self, waiting: int, most: int, retry_after: int) -> None:
        super().__init__(
            f"{waiting:,} events wait to be written, and no more than {most:,} may",
            hint=f"send these events again in {retry_after} s",
        )
        self.retry_after = retry_after
