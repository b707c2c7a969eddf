"""Load for minutes: memory over time while bundles are exchanged and events come in, and with one of the two
alone, so that what grows can be told."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from statistics import median
from typing import Any

from load.servers import Running
from load.wrk import Load, run

EVERY, RELOAD = 3.0, 10.0
FLAT = 1.05
_ACCEPTED = re.compile(r"^shortlist_events_accepted_total (\S+)$", re.MULTILINE)

Started = Callable[[], AbstractContextManager[Running]]


def soak(server: Started, load: Load, seconds: float, core: int) -> dict[str, Any]:
    """Events and a reload every ten seconds for so long; then either alone for a third of it."""
    both = _soaked(server, load, seconds, core, reloads=True)
    alone = {
        "reloads": _soaked(server, replace(load, kind="million"), seconds / 3, core, reloads=True),
        "events": _soaked(server, load, seconds / 3, core, reloads=False),
    }
    return both | {"alone": alone}


def _soaked(server: Started, load: Load, seconds: float, core: int, *, reloads: bool) -> dict[str, Any]:
    """memory_mib: (seconds, resident MiB, reloads so far, events so far). growth: the last third's median
    over the second third's, when bundles were exchanged, caches are full and allocators have settled. flat:
    that is at most 1.05."""
    with server() as at:
        begun, done, told = time.perf_counter(), 0, {}
        samples = [_sample(at, 0.0, 0)]
        asking = threading.Thread(target=lambda: told.update(run(load, at.address, seconds, "soak", core)))
        asking.start()
        while asking.is_alive():
            asking.join(EVERY)
            passed = time.perf_counter() - begun
            if reloads and passed // RELOAD > done and asking.is_alive():
                at.post("/v1/admin/reload", b"{}")
                done += 1
            samples.append(_sample(at, time.perf_counter() - begun, done))
    if not told:
        raise RuntimeError("requests failed during the soak")
    growth = growth_of([size for _, size, _, _ in samples])
    return {
        "seconds": round(seconds),
        "reloads": done,
        "events": samples[-1][3],
        "requests_per_s": round(told["requests"] / told["seconds"], 1),
        "p99_ms": told["p99_ms"],
        "max_ms": told["max_ms"],
        "memory_mib": samples,
        "growth": growth,
        "flat": growth <= FLAT,
    }


def growth_of(sizes: list[float]) -> float:
    """The last third's median over the second third's."""
    third = max(1, len(sizes) // 3)
    return round(median(sizes[-third:]) / median(sizes[-2 * third : -third] or sizes), 4)


def _sample(at: Running, passed: float, reloads: int) -> tuple[float, float, int, int]:
    found = _ACCEPTED.search(at.get("/metrics").decode())
    return round(passed, 1), at.memory_mib(), reloads, 0 if found is None else round(float(found[1]))
