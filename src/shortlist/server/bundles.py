"""Bundles in use: loaded, warmed up, exchanged while requests run, and which of them answers whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from time import time
from typing import Any

from shortlist.bundle import folder_of, inspect, verify
from shortlist.bundle.live import open_live
from shortlist.bundle.moments import of_one_moment
from shortlist.errors import BundleError, ShortlistError
from shortlist.pipeline.live import Live
from shortlist.pipeline.recommender import Recommender
from shortlist.pipeline.slate import FIXED, head_column
from shortlist.server.agreeing import Agreed
from shortlist.server.answers.bundles import ColumnRead, StoredColumns
from shortlist.server.answers.catalogue import Item, User
from shortlist.server.browsing import Browser
from shortlist.server.columns import columns_of, columns_read
from shortlist.server.events.overlay import Overlay
from shortlist.server.events.recent import Recent
from shortlist.server.keeping import Kept
from shortlist.server.mapping import Axes, axes_of
from shortlist.server.settings import Settings, Side

_WATCHED = ("manifest.json", "live/journal")
_BY_RECIPE = "events of such a type count 0 in the recipe of the bundle: kept, but they say nothing of a user"
Signature = tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, eq=False)
class Loaded:
    """A bundle as it answers. version: of what is in it; overlay: what users did since, if that is kept;
    folder: where it was read from; files: those of that moment, where they are kept."""

    side: str
    version: str
    recommender: Recommender
    overlay: Overlay | None
    manifest: dict[str, Any] = field(default_factory=dict, repr=False)
    folder: Path = Path()
    files: Kept | None = field(default=None, repr=False)

    @cached_property
    def items(self) -> Browser[Item]:
        """Its catalogue, to be searched."""
        items = self.recommender.items
        return Browser(
            *(Item, items.vocabulary.values, items.columns, items.retired),
            *(items.by_popularity, items.log_popularity),
        )

    @cached_property
    def heads(self) -> dict[str, str]:
        """What the ranker predicts, by name, and the column of an answer that holds it."""
        return heads_of(self.recommender)

    @cached_property
    def columns(self) -> StoredColumns:
        """What is stored, looked at once: a large catalogue takes a moment."""
        return StoredColumns(items=columns_of(self.items), users=columns_of(self.users))

    @cached_property
    def context(self) -> list[ColumnRead]:
        """Columns of the question that the model reads."""
        return columns_read(self.recommender)

    @cached_property
    def axes(self) -> Axes:
        """The axes of a map of its items."""
        return axes_of(self.recommender)

    @cached_property
    def users(self) -> Browser[User]:
        """The users it knows, to be searched."""
        users = self.recommender.users
        return Browser(User, users.vocabulary.values, users.columns)


@dataclass(eq=False)
class Variant:
    """One side: what answers now, and what answered before. live: what was last read from disk, and follows
    what is added there; of_live: what was made of it; of: what the bundle's signature was; copy: a folder
    with what answers, for processes to come; since: when it came into use."""

    side: Side
    now: Loaded
    seen: Signature = ()
    live: Live | None = field(default=None, repr=False)
    of_live: Loaded | None = field(default=None, repr=False)
    of: Signature = ()
    before: Loaded | None = None
    copy: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    since: float = field(default_factory=time)

    def take(self, loaded: Loaded) -> None:
        """Have it answer from now on; the same version anew is no news."""
        if loaded.version != self.now.version:
            self.since, self.copy = time(), ""
        self.now = loaded


class Variants:
    """All sides of a server. Which of them a user has is decided here alone.

    told: called with what happened ("reloads", "reloads_refused", "rollbacks", "followed", "ignored"), the
    side, and why.
    """

    def __init__(
        self,
        settings: Settings,
        recent: Recent | None = None,
        told: Callable[[str, str, str], None] = lambda what, side, why: None,
    ) -> None:
        self._salt, self._recent, self._ignored = settings.salt, recent, settings.ignored
        self._told, self._keeps = told, settings.workers > 1
        self.all: list[Variant] = []
        for side in settings.sides:
            seen = _signature(side.path)
            loaded, live = self._load(side, check=False)
            self.all.append(Variant(side, loaded, seen, live, loaded, seen[:1]))
        total = sum(side.share for side in settings.sides)
        ends = [sum(side.share for side in settings.sides[: n + 1]) for n in range(len(settings.sides))]
        self._ends = [end / total for end in ends]

    def of(self, user_id: str | None) -> Loaded:
        """What answers a user: always the same side, as long as sides, shares and salt are the same. Who does
        not say who they are has the first side."""
        if len(self.all) == 1 or user_id is None:
            return self.all[0].now
        point = share_of(user_id, self._salt)
        return next((v for v, end in zip(self.all, self._ends, strict=True) if point < end), self.all[-1]).now

    def named(self, name: str) -> Variant:
        """A side by its name. BundleError where there is none."""
        found = next((variant for variant in self.all if variant.side.name == name), None)
        if found is None:
            raise BundleError(f"there is no side {name!r}: {', '.join(v.side.name for v in self.all)}")
        return found

    async def reload(self, variant: Variant, *, force: bool = True) -> bool:
        """Take what is on disk into use, if it is another version (or force). Whatever is under way goes on
        with what it began with. Where items came or went and the bundle is the same, only that is read.

        Raises ShortlistError where it fails verification or does not answer: what was in use stays so.
        """
        async with variant.lock:
            seen = _signature(variant.side.path)
            if seen == variant.seen and not force:
                return False
            variant.seen = seen  # a bad one is not tried again until it changes
            try:
                same = not force and seen[:1] == variant.of
                more = await asyncio.to_thread(self._more, variant) if same else None
                if more is None:
                    loaded, live = await asyncio.to_thread(self._load, variant.side)
                else:
                    loaded, live = more
            except (ShortlistError, OSError) as error:
                self._told("reloads_refused", variant.side.name, str(error))
                if isinstance(error, ShortlistError):
                    raise
                raise BundleError(str(error)) from error
            if loaded.version != variant.now.version and (
                more is None or variant.now is not variant.of_live  # else the one before stays what it was
            ):
                variant.before = variant.now
            variant.take(loaded)
            variant.of_live, variant.live, variant.of = loaded, live, seen[:1]
            self._told("reloads", variant.side.name, loaded.version)
            return True

    def changed(self, variant: Variant) -> bool:
        """Whether there is something on disk that was not tried."""
        return _signature(variant.side.path) != variant.seen

    def roll_back(self, variant: Variant) -> None:
        """Return to what answered before; what is on disk waits until it changes. BundleError where there is
        nothing before."""
        require_before(variant)
        assert variant.before is not None
        back, variant.before = variant.before, variant.now
        variant.take(back)
        self._told("rollbacks", variant.side.name, variant.now.version)

    def agreed(self, variant: Variant) -> Agreed:
        """What a side has now, for the other processes of this server."""
        before = variant.before
        return Agreed(
            *(variant.now.version, str(variant.now.folder)),
            *(("", "") if before is None else (before.version, str(before.folder))),
            variant.seen,
            variant.copy,
        )

    async def follow(self, variant: Variant, agreed: Agreed) -> bool:
        """Take what another process has, from memory or from disk; False where there is no such version any
        more. Nothing is counted as refused: who agreed on it has verified it."""
        async with variant.lock:
            now = await self._found(variant, agreed.version, agreed.folder, agreed.copy)
            if now is None:
                return False
            before = None
            if agreed.before:
                before = await self._found(variant, agreed.before, agreed.before_folder)
            changed = now.version != variant.now.version
            variant.take(now)
            variant.before, variant.seen, variant.copy = before, agreed.seen, agreed.copy
            if changed:
                self._told("followed", variant.side.name, now.version)
            return True

    async def go_on(self, variant: Variant, agreed: Agreed) -> bool:
        """Take what was just read from a side's place, where that is the bundle that was agreed on with items
        that came or went since; False where it is another one."""
        async with variant.lock:
            now = variant.of_live
            if now is None or not _goes_on(agreed.version, now.version):
                return False
            before = None
            if agreed.before:
                before = await self._found(variant, agreed.before, agreed.before_folder)
            variant.take(now)
            variant.before, variant.seen = before, agreed.seen
            self._told("reloads", variant.side.name, now.version)
            return True

    async def _found(self, variant: Variant, version: str, folder: str, copy: str = "") -> Loaded | None:
        for held in (variant.now, variant.of_live, variant.before):
            if held is not None and held.version == version:
                return held
        try:
            return await asyncio.to_thread(self._fetched, variant, version, Path(copy or folder))
        except (ShortlistError, OSError):
            return None

    def _fetched(self, variant: Variant, version: str, folder: Path) -> Loaded | None:
        """A version that is not in memory, from where others read it. What is at the side's own place is kept
        to be followed."""
        if folder != folder_of(variant.side.path):
            if not version.startswith(str(inspect(folder)["digest"])[:12]):
                return None
            loaded, _ = self._load(replace(variant.side, path=folder))
            return loaded if loaded.version == version else None
        seen = _signature(folder)
        more = self._more(variant) if seen[:1] == variant.of else None
        if more is None and not version.startswith(str(inspect(folder)["digest"])[:12]):
            return None
        loaded, variant.live = more or self._load(variant.side)
        variant.of_live, variant.of = loaded, seen[:1]
        return loaded if loaded.version == version else None

    def _load(self, side: Side, check: bool = True) -> tuple[Loaded, Live]:
        folder = folder_of(side.path)

        def act() -> tuple[Kept | None, Live, dict[str, Any]]:
            if check:
                verify(folder)
            return Kept(folder) if self._keeps else None, open_live(folder, write=False), inspect(folder)

        files, live, manifest = of_one_moment(folder, act)  # what is verified is what answers
        loaded = self._made(side, live, manifest, files)
        warm_up(loaded)
        if loaded.overlay is not None and loaded.overlay.ignored and not self._ignored:
            self._told("ignored", side.name, f"{', '.join(loaded.overlay.ignored)}: {_BY_RECIPE}")
        return loaded, live

    def _more(self, variant: Variant) -> tuple[Loaded, Live] | None:
        """The same bundle with what was added and removed since; None where it is not the same any more."""
        live, last = variant.live, variant.of_live
        if live is None or last is None:
            return None
        live.refresh()
        if _signature(variant.side.path)[:1] != variant.of:  # replaced meanwhile: it is to be verified
            return None
        loaded = self._made(variant.side, live, last.manifest, last.files)
        if loaded.recommender.users is last.recommender.users and "users" in last.__dict__:
            loaded.__dict__["users"] = last.users  # with the text of their names
        warm_up(loaded)
        return loaded, live

    def _made(self, side: Side, live: Live, manifest: dict[str, Any], files: Kept | None) -> Loaded:
        digest = str(manifest["digest"])[:12]
        now = live.now
        version = f"{digest}+{now.number}" if now.number else digest
        overlay = None
        if self._recent is not None:
            ignored = self._ignored or counting_nothing(manifest)
            overlay = Overlay(self._recent, now.recommender, ignored)
        return Loaded(side.name, version, now.recommender, overlay, manifest, folder_of(side.path), files)


def _goes_on(version: str, later: str) -> bool:
    """Whether a version is of the same bundle as another, with more operations."""
    (digest, _, number), (same, _, more) = version.partition("+"), later.partition("+")
    return digest == same and int(more or 0) > int(number or 0)


def require_before(variant: Variant) -> None:
    """BundleError where a rollback would change nothing."""
    if variant.before is None:
        raise BundleError(f"side {variant.side.name!r} has no other bundle to return to: nothing was changed")


def counting_nothing(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Types of events that count 0 in the recipe a bundle was made by."""
    recipe = manifest.get("provenance", {}).get("recipe")
    data = recipe.get("data") if isinstance(recipe, dict) else None
    weights = data.get("event_weights") if isinstance(data, dict) and data.get("event") else None
    return tuple(kind for kind, weight in weights.items() if weight == 0) if isinstance(weights, dict) else ()


def heads_of(recommender: Recommender) -> dict[str, str]:
    """What the ranker predicts, by name, and the column of an answer that holds it."""
    slate = recommender.recommend([{"user_id": "\x00nobody"}], 1)
    own = {head_column(name): name for name in FIXED}
    return {own.get(name, name): name for name in slate.columns if name not in FIXED}


def share_of(user_id: str, salt: str = "") -> float:
    """Where a user stands between 0 and 1: the same everywhere and always, as good as random."""
    digest = blake2b(f"{salt}\0{user_id}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return float(int.from_bytes(digest, "big") / 2**64)


def warm_up(loaded: Loaded) -> None:
    """Answer once of each kind, so that nobody waits for what is made the first time. Raises what answering
    raises."""
    recommender = loaded.recommender
    known: Sequence[str] = [str(user) for user in recommender.users.vocabulary.values[:8]]
    for users in (known[:1], ["\x00nobody"], known):
        if users:
            recommender.recommend([{"user_id": user} for user in users], 10)
    items = recommender.items.vocabulary.values[:1]
    if items:
        recommender.score([{"user_id": "\x00nobody", "item_id": str(items[0])}])
        recommender.similar_items(str(items[0]), 2)
    _ = loaded.items, loaded.users, loaded.heads


def _signature(path: Path) -> Signature:
    """What changes when a bundle is replaced, and when its items change; None where there is none."""
    folder = folder_of(path)
    found: list[tuple[int, ...] | None] = []
    for name in _WATCHED:
        try:
            about = (folder / name).stat()
        except OSError:
            found.append(None)
            continue
        found.append((about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size))
    return tuple(found)
