"""Shortlists of many users: a file of all of them, and the same users asked about one by one."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from clock import emit, extra_memory, folder

MANY = {"joint": 530, "retrieval alone": 530, "history": 1}  # MovieLens has but 943 users
FEW = {"joint": 20, "retrieval alone": 20, "history": 1}  # for one process, in a second or less
REPEATS = 3
KEPT = ("ranked", "encoded")
"""What a recommender keeps of questions asked before: each user is asked about once, so it is forgotten."""


def bulk() -> None:
    """Users/s of `recommend_all` into Parquet, k = 10, as the command line does it: how many processes there
    are is decided by it, and their start counts."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "out.parquet"
        found = {name: _measured(name, made, path) for name, made in _recommenders().items()}
    emit("bulk", found["joint"]["users_a_second"], **found)


def _measured(name: str, recommender: Any, path: Path) -> dict[str, Any]:
    known = list(recommender.users.vocabulary.values)
    many, few = known * MANY[name], known * FEW[name]
    others: list[float] = []

    def write(users: list[str], **options: Any) -> Callable[[], None]:
        return partial(_write, recommender, path, users, **options)

    def tell(done: int, total: int) -> None:
        if done == total:
            others.extend(_others())

    told: dict[str, Any] = {
        "one_thread": _rate(write(few, threads=1), len(few), recommender),
        "threads": _rate(write(few, processes=1), len(few), recommender),
        "threads_users": len(few),
        "start_seconds": _start(write, known, recommender),
    }

    def measure() -> None:
        told["users_a_second"] = _rate(write(many, tell=tell), len(many), recommender, 1)

    extra = extra_memory(measure)
    return {**told, "users": len(many), "measured_extra_mib": extra, "other_processes_mib": others}


def bulk_loop() -> None:
    """Users/s of `Recommender.recommend`, a call a user, whose slates become the same table; and of the calls
    alone."""
    import polars

    with tempfile.TemporaryDirectory() as place:
        path, found = Path(place) / "out.parquet", {}
        for name, recommender in _recommenders().items():
            users = recommender.users.vocabulary.values

            def ask(recommender: Any = recommender, users: Any = users) -> list[Any]:
                return [recommender.recommend(user, 10) for user in users]

            def work(ask: Any = ask) -> None:
                polars.concat([slate.to_polars() for slate in ask()]).write_parquet(path)

            found[name] = {
                "users_a_second": _rate(work, len(users), recommender),
                "calls_alone": _rate(ask, len(users), recommender),
            }
    emit("bulk-loop", found["joint"]["users_a_second"], **found)


def _recommenders() -> dict[str, Any]:
    import shortlist
    from shortlist.pipeline.stages import Utility

    joint, history = (shortlist.load(folder() / "bulk" / name) for name in ("joint", "history"))
    alone = replace(joint, ranker=None, utility=Utility())
    return {"joint": joint, "retrieval alone": _saved(alone), "history": history}


def _saved(recommender: Any) -> Any:
    """The same, of a folder of its own, from which several processes can load it."""
    import shortlist

    path = folder() / "bulk" / "alone"
    if not path.exists():
        recommender.save(path)
    return shortlist.load(path)


def _write(recommender: Any, path: Path, users: list[str], **options: Any) -> None:
    from shortlist.pipeline.bulk import recommend_all

    recommend_all(recommender, path, 10, users=users, force=True, **{"processes": 0, **options})


def _rate(work: Callable[[], Any], count: int, recommender: Any, repeats: int = REPEATS) -> float:
    """The median of a few calls, after one that is not counted where there are several."""
    seconds = []
    for number in range(repeats + (repeats > 1)):
        for name in KEPT:
            recommender.__dict__.pop(name, None)
        begun = time.perf_counter()
        work()
        if number or repeats == 1:
            seconds.append(time.perf_counter() - begun)
    return round(count / statistics.median(seconds), 1)


def _start(write: Callable[..., Callable[[], None]], known: list[str], recommender: Any) -> float:
    """Seconds that two processes need more than one for two small blocks."""
    two, one = (1 / _rate(write(known[:4], block=2, processes=n), 1, recommender) for n in (2, 1))
    return round(two - one, 3)


def _others() -> list[float]:
    """The most memory that each process started here has held so far, MiB, pages of mapped files counted."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return []
    pids = [pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()]
    lines = [line for pid in pids for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
    return [round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith("VmHWM:")]
