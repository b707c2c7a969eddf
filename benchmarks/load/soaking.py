"""Load for minutes while the bundle is exchanged again and again: memory over time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from load.servers import Running
from load.wrk import Load, run

EVERY, RELOAD = 5.0, 10.0


def soak(
    server: Callable[[], AbstractContextManager[Running]], load: Load, seconds: float, core: int
) -> dict[str, Any]:
    """Resident memory in MiB every five seconds, a reload every ten. growth: the last third's median over the
    second third's, when caches are full and allocators have settled."""
    with server() as at:
        begun, samples, reloads = time.perf_counter(), [(0.0, at.memory_mib())], 0
        told: dict[str, float] = {}
        asking = threading.Thread(target=lambda: told.update(run(load, at.address, seconds, "soak", core)))
        asking.start()
        while asking.is_alive():
            asking.join(EVERY)
            passed = time.perf_counter() - begun
            samples.append((round(passed, 1), at.memory_mib()))
            if passed // RELOAD > reloads and asking.is_alive():
                at.post("/v1/admin/reload", b"{}")
                reloads += 1
    if not told:
        raise RuntimeError("requests failed during the soak")
    sizes = [size for _, size in samples]
    third = len(sizes) // 3
    middle, last = sorted(sizes[third : 2 * third]), sorted(sizes[2 * third :])
    return {
        "seconds": seconds,
        "reloads": reloads,
        "requests_per_s": round(told["requests"] / told["seconds"], 1),
        "p99_ms": told["p99_ms"],
        "max_ms": told["max_ms"],
        "memory_mib": samples,
        "growth": round(last[len(last) // 2] / middle[len(middle) // 2], 4),
    }
