"""The journal of a bundle: which bundle it belongs to, and what would be lost with it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from shortlist.errors import BundleCorrupted, BundleError, BundleVersion
from shortlist.state.journal import Found, Record, read

_FORMAT = 1
JOURNAL, LOCK = "live/journal", "live/lock"


class Head(msgspec.Struct, frozen=True):
    """What a journal belongs to: the digest of a bundle's manifest."""

    format: int
    bundle: str


def head_of(digest: str) -> bytes:
    """What a journal of the bundle of this digest begins with."""
    return msgspec.json.encode(Head(_FORMAT, digest))


def journal_of(folder: Path, digest: str) -> Found | None:
    """The whole journal of this bundle; None where there is none."""
    path = folder / JOURNAL
    if path.is_dir():
        raise misplaced(path)
    if not path.is_file():
        return None
    found = read(path)
    if not found.records:
        raise BundleCorrupted(f"{path} is damaged at byte 0", hint="bring the file back from a copy")
    _require_head(path, found.records[0], digest)
    return found


def misplaced(path: Path) -> BundleCorrupted:
    """That something else lies where a bundle's journal, its lock or their folder belongs."""
    kind = "folder" if path.is_dir() else "file"
    return BundleCorrupted(f"{path} is a {kind}, which is not what belongs there", hint="move it away")


def _require_head(path: Path, record: Record, digest: str) -> None:
    try:
        head = msgspec.json.decode(record.payload, type=Head)
    except msgspec.MsgspecError as error:
        raise BundleCorrupted(f"{path} is damaged at byte 0: {error}") from error
    if head.format > _FORMAT:
        raise BundleVersion(f"{path} has the format {head.format}", hint="open it with a newer Shortlist")
    if head.bundle != digest:
        raise BundleError(
            f"{path} belongs to another bundle: to {head.bundle[:12]}, and this one is {digest[:12]}",
            hint=f"put the bundle back that it belongs to, or begin anew: move {path.parent} away",
        )


def require_no_operations(path: Path) -> None:
    """BundleError where a bundle is to be replaced, also one inside a run's folder, whose journal holds
    operations: they would be gone. A damaged journal raises BundleCorrupted."""
    for folder in (path, path / "bundle"):
        journal = folder / JOURNAL
        count = len(read(journal).records) - 1 if journal.is_file() else 0
        if count > 0:
            held = f"{count:,} operation{'s' if count > 1 else ''}"
            raise BundleError(
                f"{journal} holds {held} that replacing {folder} would lose",
                hint=f"make them part of it: shortlist index build {folder}; or remove {journal.parent}",
            )
