"""Runs the benchmarks: `python benchmarks/run.py [--full] [--only ID ...] [--rounds N]`.

Makes the peers' environments, runs what is asked for, writes `results/latest.json` and `results/latest.md`.
With `--only` the other entries stay as they are. `growth` has no peer: it writes `results/growth.*`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from pathlib import Path
from typing import Any

from ann_data import write_vectors
from benches import BENCHES, small_entries
from bulk_data import write_bulk
from encode_data import write_rows
from environments import BUILD, PEERS, install, python_of
from growth import measure_growth, write_growth
from inputs import write_inputs
from machine import hardware, versions
from results import Entry, markdown, merged, over_runs, read, write_atomic
from serving_data import write_serving
from stream_data import write_store
from tutorials import IDS, RESULTS, tutorial_entries

ORDER = [*IDS, *(bench.name for bench in BENCHES)]
GROWTH = "growth"
ROUNDS, TUTORIAL_ROUNDS, FULL_RUNS = 5, 5, 3


def main() -> None:
    """Parse the arguments, run, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--full", action="store_true", help="everything three times, the peers' long runs too"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*ORDER, GROWTH],
        metavar="ID",
        default=[*ORDER, GROWTH],
        help=", ".join([*ORDER, GROWTH]),
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of the small benchmarks ({ROUNDS})")
    chosen = parser.parse_args()
    start = time.perf_counter()
    if GROWTH in chosen.only:
        write_growth(measure_growth(), RESULTS)
        print((RESULTS / "growth.md").read_text(encoding="utf-8"))
    wanted = [name for name in chosen.only if name != GROWTH]
    if wanted:
        compare(wanted, chosen.rounds, full=chosen.full)
    print(f"{time.perf_counter() - start:.0f} s in all", file=sys.stderr)


def compare(wanted: list[str], rounds: int, *, full: bool) -> None:
    """Measure these entries beside their peers and write them."""
    for environment in PEERS:
        install(environment)
    write_inputs(BUILD / "data")
    if "encode" in wanted:
        write_rows(BUILD / "data" / "encode")
    if {"start", "score-savedmodel"} & set(wanted):
        write_serving(BUILD / "data" / "serving")
    if "bulk" in wanted:
        write_bulk(BUILD / "data" / "bulk")
    if "out-of-core" in wanted:
        write_store(BUILD / "data" / "stored")
    if "ann-million" in wanted:
        write_vectors(BUILD / "data" / "ann")
    if full:
        write(over_runs([one_run(wanted, rounds, again=True) for _ in range(FULL_RUNS)]), RESULTS)
    else:  # what is measured is kept, should the rest be interrupted
        for part in ([name for name in wanted if name in IDS], [name for name in wanted if name not in IDS]):
            if part:
                write(one_run(part, rounds, again=False), RESULTS)
    print((RESULTS / "latest.md").read_text(encoding="utf-8"))


def one_run(wanted: list[str], rounds: int, *, again: bool) -> list[Entry]:
    """The entries wanted, measured once each round; `again` repeats the peers' long runs as well."""
    found: list[Entry] = []
    if long := [name for name in IDS if name in wanted]:
        found += tutorial_entries(RESULTS, long, min(rounds, TUTORIAL_ROUNDS), again=again)
    if small := [name for name in wanted if name not in IDS]:
        found += small_entries(small, rounds, full=again)
    return found


def write(entries: list[Entry], folder: Path) -> None:
    """latest.json (entries only), machine.json (what they were measured on), latest.md (both, to be read)."""
    kept = merged(read(folder / "latest.json"), entries, ORDER)
    described = describe()
    write_atomic(folder / "latest.json", json.dumps(kept, indent=1) + "\n")
    write_atomic(folder / "machine.json", json.dumps(described, indent=1) + "\n")
    write_atomic(folder / "latest.md", markdown(kept, described))


def describe() -> dict[str, Any]:
    """Machine, versions of each side, date."""
    return {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": hardware(),
        "versions": {
            "project": versions(python_of("project")),
            **{environment: versions(python_of(environment)) for environment in PEERS},
        },
    }


if __name__ == "__main__":
    main()
