"""Exchanging bundles: one exchange at a time over all processes of a server, which all end up with the same.

Who exchanges waits for the turn, does it and writes down what came of it; the others follow that. Who cannot
have it any more, because it was replaced on disk, takes what is there, and the others follow that then.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from time import monotonic, monotonic_ns

from shortlist.bundle import inspect
from shortlist.errors import ShortlistError
from shortlist.server.agreeing import Agreement
from shortlist.server.bundles import Loaded, Variant, Variants, require_before
from shortlist.server.memory import give_back

POLL = 0.1
"""Seconds between looks at what other processes agreed on."""
_PATIENCE = 5.0  # seconds for the others to follow
_STEP = 0.01


class Exchanger:
    """Exchanges of one process. told: see `Variants`; also "lost", of a version that cannot be had any more.

    A process that begins takes what the others have.
    """

    def __init__(
        self, variants: Variants, agreement: Agreement, told: Callable[[str, str, str], None]
    ) -> None:
        self.variants, self.agreement, self._told = variants, agreement, told
        self._lock = asyncio.Lock()
        self._refused: dict[str, tuple[int, ShortlistError]] = {}
        agreement.serve(agreement.worker, True)
        asyncio.run(self._join())

    async def reload(self, side: str = "") -> None:
        """Take what is on disk into use, of one side or all. Who waits for the turn meanwhile is served by
        the same reload. Raises ShortlistError, after the other sides were tried."""
        asked, problem, done = monotonic_ns(), None, False
        async with self._turn():
            for variant in self._of(side):
                try:
                    done |= await self._reload(variant, asked)
                except ShortlistError as error:
                    problem = error
            if done:
                give_back()  # of the bundle before the one before, which may hold on to itself
        if problem is not None:
            raise problem

    async def roll_back(self, side: str = "") -> None:
        """Return to what answered before, of one side or all. BundleError, and nothing is done, where a side
        has nothing else."""
        async with self._turn():
            variants = self._of(side)
            for variant in variants:
                await self._catch_up(variant)
                require_before(variant)
            for variant in variants:
                self.variants.roll_back(variant)
                if self.agreement.workers > 1:
                    await self._copy(variant)
                self._agree(variant)

    async def settled(self, side: str = "") -> list[int]:
        """Wait until all processes have what was agreed on; those that have not after a while, or cannot."""
        until, names = monotonic() + _PATIENCE, [variant.side.name for variant in self._of(side)]
        while any(self.agreement.late(name, trying=True) for name in names) and monotonic() < until:
            await asyncio.sleep(_STEP)
        return sorted({worker for name in names for worker in self.agreement.late(name, trying=False)})

    async def look(self) -> None:
        """Take what changed on disk, unless another process does; a bad one is told of, and stays away."""
        changed = [variant for variant in self.variants.all if self.variants.changed(variant)]
        if not changed or self._lock.locked():
            return
        async with self._lock:
            if not self.agreement.take():
                return
            try:
                for variant in changed:
                    await self._catch_up(variant)
                    if await self.variants.reload(variant, force=False):
                        self._agree(variant)
                        give_back()
            finally:
                self.agreement.leave()

    async def follow(self) -> None:
        """Take what another process has agreed on meanwhile."""
        for variant in self.variants.all:
            if not self.agreement.behind(variant.side.name) or self._lock.locked():
                continue
            async with self._lock:
                done = await self._follow(variant)
            if not done:
                async with self._turn():
                    await self._catch_up(variant)
            give_back()

    def _of(self, side: str) -> list[Variant]:
        return [self.variants.named(side)] if side else self.variants.all

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        async with self._lock:
            while not self.agreement.take():
                await asyncio.sleep(_STEP)
            try:
                yield
            finally:
                self.agreement.leave()

    async def _reload(self, variant: Variant, asked: int) -> bool:
        """Whether this reload was made, not one that began since it was asked for."""
        name = variant.side.name
        followed = await self._follow(variant)
        if followed and self.agreement.begun(name) > asked:
            return False
        began, error = self._refused.get(name, (0, None))
        if error is not None and began > asked:
            raise error
        began = monotonic_ns()
        try:
            await self.variants.reload(variant)
        except ShortlistError as error:
            self._refused[name] = began, error
            raise
        self._agree(variant)
        self.agreement.begin(name, began)
        return True

    def _agree(self, variant: Variant) -> None:
        name, agreed = variant.side.name, self.variants.agreed(variant)
        _, last = self.agreement.read(name)
        self.agreement.write(name, agreed)
        if last is not None and last.copy not in ("", agreed.copy):
            shutil.rmtree(last.copy, ignore_errors=True)

    async def _follow(self, variant: Variant) -> bool:
        """Have what was agreed on; False where it cannot be had."""
        name = variant.side.name
        if not self.agreement.behind(name):
            return True
        number, agreed = self.agreement.read(name)
        if agreed is None or not await self.variants.follow(variant, agreed):
            return False
        self.agreement.follow(name, number)
        return True

    async def _catch_up(self, variant: Variant) -> None:
        """In this process's turn: have what was agreed on; where that is gone, what is on disk is for all."""
        if await self._follow(variant):
            return
        name = variant.side.name
        number, agreed = self.agreement.read(name)
        assert agreed is not None
        self.agreement.follow(name, -number)
        if not await self.variants.go_on(variant, agreed):
            self._told(
                "lost", name, f"{agreed.version} cannot be read any more: all workers take what is on disk"
            )
            await self.variants.reload(variant)
            variant.before = None  # the others' may be the one that is gone
        self._agree(variant)

    async def _join(self) -> None:
        """Have what the others have, as a process that has just begun."""
        async with self._turn():
            for variant in self.variants.all:
                await self._catch_up(variant)
                _, agreed = self.agreement.read(variant.side.name)
                if agreed is not None and agreed.before and variant.before is None:
                    why = f"{agreed.before} cannot be read any more: no worker returns to it"
                    self._told("lost", variant.side.name, why)
                self._agree(variant)

    async def _copy(self, variant: Variant) -> None:
        """Keep what was returned to for workers to come, where its place holds something else by now."""
        if variant.copy:
            return
        try:
            variant.copy = await asyncio.to_thread(copied, variant.now)
        except (ShortlistError, OSError) as error:
            why = f"{variant.now.version} cannot be kept for workers to come: {error}"
            self._told("lost", variant.side.name, why)


def copied(loaded: Loaded) -> str:
    """A folder with what is loaded, unless its own place still holds it ("")."""
    with suppress(ShortlistError, OSError):
        if loaded.version.startswith(str(inspect(loaded.folder)["digest"])[:12]):
            return ""
    return "" if loaded.files is None else loaded.files.copied()
