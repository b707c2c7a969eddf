"""Servers under load: `python benchmarks/serve.py [--only ID ...] [--rounds N] [--soak SECONDS]`.

Each server runs on one core, wrk on another, over the loopback. Writes `results/serve.json`; with `--only`
the other entries stay as they are. A run in which any request failed is no run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from environments import BUILD, HERE, install, python_of, variables
from load import soaking
from load.bundles import MILLION, PLACE, bundle
from load.peer_data import write_peer_data, write_savedmodel
from load.servers import Running, free_port, running
from load.wrk import Load, require_wrk, run
from machine import hardware, versions
from results import write_atomic

RESULTS = HERE / "results" / "serve.json"
ROUNDS, SECONDS, WARM = 5, 5.0, 2.0
_SERVE = "from shortlist.cli import main; main()"
SMALL = {"connections": 32, "users": 943, "items": 1682}
FIGURES = ("requests_per_s", "p50_ms", "p99_ms", "cpu_us_per_request")


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What is measured. bundle: of ours; environment: a peer's; serves: in words. workers: processes; of more
    than one, each has a core of its own, and wrk shares the last of them."""

    id: str
    load: Load
    serves: str
    bundle: str = ""
    environment: str = "project"
    workers: int = 1


BENCHES = (
    Bench(
        id="recommend",
        bundle="ids",
        load=Load(kind="recommend", **SMALL),
        serves="ml100k-ids: 100 retrieved, ranked, 10 answered; what was seen is left out; events are on disk"
        " (fsync) before they are acknowledged",
    ),
    Bench(
        id="recommend-history",
        bundle="joint",
        load=Load(kind="recommend", **SMALL),
        serves="ml100k-joint: the same, and the model reads the user's history, which events make longer;"
        " candidates of users who did nothing new are kept",
    ),
    Bench(
        id="score",
        bundle="ids",
        load=Load(kind="score", **SMALL),
        serves="ml100k-ids: rating and log probability of one user and item",
    ),
    Bench(
        id="recommend-million",
        bundle=MILLION,
        load=Load(kind="million", connections=8, users=3_000, items=1_000_000, first=0),
        serves="1,000,000 items of 64 numbers, approximate index (recall 0.95): 100 retrieved, ranked, 10"
        " answered; two workers, the second on wrk's core",
        workers=2,
    ),
    Bench(
        id="peer-fastapi-torch",
        environment="fastapi",
        load=Load(kind="recommend", **SMALL),
        serves="FastAPI and PyTorch: vectors of 32 numbers, 100 of 1,682 retrieved, ranked by layers of 64"
        " and 32, what was seen left out; events as ours",
    ),
    Bench(
        id="peer-savedmodel",
        environment="savedmodel",
        load=Load(kind="recommend", **SMALL),
        serves="the SavedModel of ml100k-ids behind a server of asyncio's: signature query, search in NumPy,"
        " signature rank; events as ours",
    ),
)


def main() -> None:
    """Parse the arguments, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    names = [bench.id for bench in BENCHES]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="ID", help=", ".join(names)
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"servers started ({ROUNDS})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of load a round ({SECONDS:.0f})")
    parser.add_argument(
        "--soak", type=float, default=0.0, help="seconds of load with reloads, memory recorded"
    )
    parser.add_argument("--fresh", action="store_true", help="train the bundles anew")
    chosen = parser.parse_args()
    require_wrk()
    for bench in BENCHES:
        if bench.id in chosen.only:
            prepare(bench, fresh=chosen.fresh)
            entry = measure(bench, chosen.rounds, chosen.seconds)
            if bench.workers > 1:
                one = measure(replace(bench, workers=1), chosen.rounds, chosen.seconds)
                entry["detail"]["one_worker"] = {name: one[name] for name in FIGURES}
            write(entry)
    if chosen.soak:
        soaked = soaking.soak(lambda: server(BENCHES[0], "soak"), BENCHES[0].load, chosen.soak, cores()[1])
        entry = next(entry for entry in read() if entry["bench"] == BENCHES[0].id)
        entry["detail"]["soak"] = soaked
        write(entry)
    print(table(read()))


def cores() -> tuple[int, int]:
    """The server's and wrk's; one for both where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def prepare(bench: Bench, *, fresh: bool) -> None:
    """What it serves, and the environment it is served in."""
    if bench.environment == "project":
        bundle(bench.bundle, fresh=fresh)
        return
    install(bench.environment)
    write_peer_data(bundle("ids", fresh=False), PLACE / "peer.npz")
    if bench.environment == "savedmodel":
        write_savedmodel(bundle("ids"), PLACE / "savedmodel")


@contextmanager
def server(bench: Bench, name: str) -> Iterator[Running]:
    """The server of a bench, with a new store of events."""
    place = BUILD / "serve"
    place.mkdir(parents=True, exist_ok=True)
    for old in place.glob("events.db*"):
        old.unlink()
    port, store = free_port(), place / "events.db"
    with running(
        command(bench, port, store), port, environment(bench), pinned(bench), place / f"{bench.id}-{name}.txt"
    ) as found:
        yield found


def pinned(bench: Bench) -> set[int]:
    """The cores of a bench's server."""
    return {cores()[0]} if bench.workers == 1 else set(sorted(os.sched_getaffinity(0))[-bench.workers :])


def command(bench: Bench, port: int, store: Path) -> list[str]:
    """What is started."""
    python = str(python_of(bench.environment))
    if bench.environment == "project":
        words = ["serve", str(bundle(bench.bundle)), "--port", str(port), "--events", str(store)]
        words += ["--workers", str(bench.workers)]
        return [python, "-c", _SERVE, *words]
    program = HERE / "peers" / f"serve_{bench.environment}.py"
    return [python, str(program), str(port), str(PLACE / "peer.npz"), str(store), str(PLACE / "savedmodel")]


def environment(bench: Bench) -> dict[str, str]:
    """Of a server's process: one thread for everybody's matrices."""
    found = variables("tensorflow" if bench.environment == "savedmodel" else bench.environment)
    return found | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def measure(bench: Bench, rounds: int, seconds: float) -> dict[str, Any]:
    """The medians over rounds, each of a new server with a new store."""
    print(f"{bench.id} ...", file=sys.stderr, flush=True)
    found: list[dict[str, float]] = []
    for number in range(rounds):
        with server(bench, str(number)) as running_:
            found.append(one_round(bench, running_, seconds))
            print(f"  {found[-1]}", file=sys.stderr, flush=True)
    medians = {name: statistics.median(one[name] for one in found) for name in found[0]}
    detail: dict[str, Any] = {
        "serves": bench.serves,
        "load": bench.load.described(),
        "seconds": seconds,
        "workers": bench.workers,
        "cores": told_cores(bench),
        "start_to_ready_s": medians["ready_s"],
        "memory_mib": medians["memory_mib"],
        "p90_ms": medians["p90_ms"],
        "max_ms": medians["max_ms"],
        "rounds": found,
        "machine": hardware(),
        "versions": versions(python_of(bench.environment)),
        "load_average": round(os.getloadavg()[1], 1),
    }
    return {"bench": bench.id, **{name: medians[name] for name in FIGURES}, "detail": detail}


def told_cores(bench: Bench) -> str:
    """Who had which, in words."""
    if len(set(cores())) < 2:
        return "one for all"
    return "the server on one, wrk on another" if bench.workers == 1 else "a worker each, wrk beside the last"


def one_round(bench: Bench, at: Running, seconds: float) -> dict[str, float]:
    """Figures of one server: warmed up, then asked."""
    check(bench, at)
    run(bench.load, at.address, WARM, f"warm{time.time_ns()}", cores()[1])
    before = at.cpu_seconds()
    told = run(bench.load, at.address, seconds, f"{time.time_ns()}", cores()[1])
    used = at.cpu_seconds() - before
    return {
        "requests_per_s": round(told["requests"] / told["seconds"], 1),
        "p50_ms": told["p50_ms"],
        "p90_ms": told["p90_ms"],
        "p99_ms": told["p99_ms"],
        "max_ms": told["max_ms"],
        "cpu_us_per_request": round(used / told["requests"] * 1e6, 1),
        "ready_s": at.ready_seconds,
        "memory_mib": at.memory_mib(),
    }


def check(bench: Bench, at: Running) -> None:
    """It answers what is asked: ten different items, not seen ones again; a score. RuntimeError else."""
    user = str(bench.load.first + 41)
    if bench.load.kind == "score":
        row = {"user_id": user, "item_id": str(bench.load.first)}
        answer = json.loads(at.post("/v1/score", json.dumps({"rows": [row]}).encode()))
        if not 0 < answer["rows"][0]["rating"] < 6:
            raise RuntimeError(f"{bench.id}: no rating: {answer}")
        return
    body = json.dumps({"user_id": user, "k": 10}).encode()
    items = [item["item_id"] for item in json.loads(at.post("/v1/recommend", body))["items"]]
    if len(set(items)) != 10:
        raise RuntimeError(f"{bench.id}: not ten items: {items}")
    if bench.load.kind != "recommend":
        return
    event = {"event_id": "check", "user_id": user, "item_id": items[0], "timestamp": bench.load.start}
    at.post("/v1/events", json.dumps(event).encode())
    again = json.loads(at.post("/v1/recommend", body))["items"]
    if items[0] in [item["item_id"] for item in again]:
        raise RuntimeError(f"{bench.id}: {items[0]} was had and is recommended")


def read() -> list[dict[str, Any]]:
    """What was measured before."""
    if not RESULTS.exists():
        return []
    found: list[dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def write(entry: dict[str, Any]) -> None:
    """Put an entry in its place among the others."""
    kept = {one["bench"]: one for one in read()} | {entry["bench"]: entry}
    ordered = [kept[bench.id] for bench in BENCHES if bench.id in kept]
    write_atomic(RESULTS, json.dumps(ordered, indent=1) + "\n")


def table(entries: list[dict[str, Any]]) -> str:
    """To be read."""
    lines = [f"{'bench':20} {'requests/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>8} {'ready s':>8}"]
    for one in entries:
        figures = (one["requests_per_s"], one["p50_ms"], one["p99_ms"], one["cpu_us_per_request"])
        written = "{:>10,.0f} {:>8.2f} {:>8.2f} {:>8.0f}".format(*figures)
        lines.append(f"{one['bench']:20} {written} {one['detail']['start_to_ready_s']:>8.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    shutil.rmtree(BUILD / "serve", ignore_errors=True)
    main()
