"""Shortlists of many users: a file of all of them, and the same users asked about one by one."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from clock import emit, extra_memory, folder

TIMES = {"joint": 20, "retrieval alone": 20, "history": 2}  # MovieLens has but 943 users
REPEATS = 5


def bulk() -> None:
    """Users/s of `recommend_all` into Parquet, k = 10; every user several times."""
    from shortlist.pipeline.bulk import recommend_all

    with tempfile.TemporaryDirectory() as place:
        path, found = Path(place) / "out.parquet", {}
        for name, recommender in _recommenders().items():
            users = list(recommender.users.vocabulary.values) * TIMES[name]

            def work(recommender: Any = recommender, users: Any = users, **options: Any) -> None:
                recommend_all(recommender, path, 10, users=users, force=True, **options)

            found[name] = {
                "users_a_second": _rate(work, len(users)),
                "one_thread": _rate(lambda work=work: work(threads=1), len(users)),
                "measured_extra_mib": extra_memory(work),
                "users": len(users),
            }
    emit("bulk", found["joint"]["users_a_second"], **found)


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
                "users_a_second": _rate(work, len(users)),
                "calls_alone": _rate(ask, len(users)),
            }
    emit("bulk-loop", found["joint"]["users_a_second"], **found)


def _recommenders() -> dict[str, Any]:
    import shortlist
    from shortlist.pipeline.stages import Utility

    joint, history = (shortlist.load(folder() / "bulk" / name) for name in ("joint", "history"))
    alone = replace(joint, ranker=None, utility=Utility())
    return {"joint": joint, "retrieval alone": alone, "history": history}


def _rate(work: Callable[[], Any], count: int) -> float:
    """The median of a few calls, after one that is not counted."""
    work()
    seconds = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return round(count / statistics.median(seconds), 1)
