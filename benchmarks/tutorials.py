"""The tutorials end to end: the peer's six processes once a machine, ours in one or six, cold and warm."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from environments import HERE, python_of
from machine import fingerprint, hardware, versions
from measure import PROGRAMS, Ran, run
from results import entry, write_atomic

EXPERIMENTS = (
    "ranking",
    "context-without-time",
    "context-with-time",
    "multitask-rating",
    "multitask-retrieval",
    "multitask-joint",
)
IDS = ("tutorials-cold", "tutorials-warm", "tutorials-metrics-off")
Runner = Callable[..., Ran]


def peer_file(folder: Path) -> Path:
    """Where the peer's figures of this machine and these versions are kept."""
    return folder / f"peers-{fingerprint(_described())}.json"


def _described() -> dict[str, Any]:
    return {"machine": hardware(), "versions": versions(python_of("tensorflow"))}


def peer_seconds(folder: Path, *, again: bool = False, runner: Runner = run) -> dict[str, Any]:
    """The peer's experiments, whole processes one after the other; from the file where they were run before.

    "as printed" and "metrics off" hold one dict an experiment: wall seconds, peak memory, figures. The
    ranking experiment has no retrieval metric to leave out, so it is run once.
    """
    path = peer_file(folder)
    if path.exists() and not again:
        known: dict[str, Any] = json.loads(path.read_text())
        return known
    found: dict[str, Any] = _described() | {"as printed": {}, "metrics off": {}}
    for which, more in (("as printed", []), ("metrics off", ["--metrics-off"])):
        for experiment in EXPERIMENTS:
            if which == "metrics off" and experiment == "ranking":
                found[which][experiment] = found["as printed"][experiment]
                continue
            print(f"TFRS {experiment}, {which} ...", file=sys.stderr, flush=True)
            found[which][experiment] = _told(runner("tfrs tutorials", [experiment, *more]), experiment)
    write_atomic(path, json.dumps(found, indent=1) + "\n")
    return found


def _told(ran: Ran, experiment: str) -> dict[str, Any]:
    detail = ran.details[experiment]
    parts = {key: round(value, 2) for key, value in detail.items() if key != "figures"}
    return {"seconds": round(ran.seconds, 2), "peak_mib": ran.peak_mib, **parts, "figures": detail["figures"]}


def tutorial_entries(
    folder: Path, wanted: list[str], rounds: int, *, again: bool = False
) -> list[dict[str, Any]]:
    """The entries of the ids wanted."""
    peer = peer_seconds(folder, again=again)
    ours = _ours(rounds)
    sides = {
        "tutorials-cold": ("cold", "as printed"),
        "tutorials-warm": ("warm", "as printed"),
        "tutorials-metrics-off": ("cold", "metrics off"),
    }
    out = []
    for name in wanted:
        state, which = sides[name]
        total = sum(one["seconds"] for one in peer[which].values())
        values = ours[state]["seconds_by_round"]
        detail = {
            "ours_is": f"one process, all six, compilation cache {_cache_said(state)}",
            "peer_is": f"six TFRS processes, {which}, once a machine",
            "ours": ours,
            "peer": peer[which],
            "ratio_six_against_six": {
                how: round(total / ours[f"six processes, {how}"]["seconds"], 2) for how in ("cold", "warm")
            },
            "ratio_warm": round(total / ours["warm"]["median"], 2),
            "commands": {
                "ours": PROGRAMS["our tutorials"].describe([]),
                "peer": PROGRAMS["tfrs tutorials"].describe(["EXPERIMENT"]),
            },
        }
        out.append(entry(name, values, [total], "s", detail))
    return out


def _cache_said(state: str) -> str:
    return "empty at the start" if state == "cold" else "filled by an earlier run"


def _ours(rounds: int) -> dict[str, Any]:
    """Each round: an empty cache of programs, then the same cache again. Six processes: once each way."""
    runs: dict[str, list[Ran]] = {"cold": [], "warm": []}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}: our tutorials, cold and warm", file=sys.stderr, flush=True)
        with empty_cache() as cache:
            for state in runs:
                runs[state].append(run("our tutorials", [], SHORTLIST_CACHE=cache))
    found: dict[str, Any] = {}
    for state, ran in runs.items():
        seconds = [round(one.seconds, 3) for one in ran]
        found[state] = {
            "seconds_by_round": seconds,
            "median": statistics.median(seconds),
            "peak_mib": max(one.peak_mib for one in ran),
            "experiments": {name: ran[-1].details[name] for name in EXPERIMENTS},
        }
    print("our tutorials, six processes, cold and warm", file=sys.stderr, flush=True)
    with empty_cache() as cache:
        for state in runs:
            each = {
                name: round(run("our tutorials", [name], SHORTLIST_CACHE=cache).seconds, 3)
                for name in EXPERIMENTS
            }
            found[f"six processes, {state}"] = {"seconds": round(sum(each.values()), 3), "each": each}
    return found


@contextmanager
def empty_cache() -> Iterator[str]:
    """A cache folder that holds the data set and nothing compiled."""
    from shortlist.data.download import cache_folder

    with tempfile.TemporaryDirectory(prefix="shortlist-bench-") as place:
        os.symlink(cache_folder() / "movielens-100k", Path(place) / "movielens-100k")
        yield place


RESULTS = HERE / "results"
