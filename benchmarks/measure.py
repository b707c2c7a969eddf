"""Runs measuring processes: ours and the peers' in turn, so that noise of the machine hits both alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any

from environments import HERE, python_of, variables


@dataclass(frozen=True)
class Program:
    """A script of one side and the environment it runs in."""

    script: str
    environment: str
    settings: tuple[tuple[str, str], ...] = ()

    def describe(self, arguments: list[str]) -> str:
        """The command, as one would type it after setting PYTHONPATH and BENCH_DATA."""
        python = "python" if self.environment == "project" else f"build/bench/{self.environment}/bin/python"
        settings = [f"{name}={value}" for name, value in self.settings]
        return " ".join([*settings, python, f"benchmarks/{self.script}", *arguments])


@dataclass(frozen=True)
class Ran:
    """A whole process. values, details: by the names of its measurements; peak_mib: resident memory."""

    seconds: float
    peak_mib: float
    values: dict[str, float] = field(default_factory=dict)
    details: dict[str, dict[str, Any]] = field(default_factory=dict)


# PyTorch's guide to performance advises an allocator that keeps memory; these settings make the C library's
# own one do so. B x B matrices are then not given back and faulted in again at each step: twice the speed.
KEEP_MEMORY = (
    ("MALLOC_MMAP_MAX_", "0"),
    ("MALLOC_TRIM_THRESHOLD_", "100000000000"),
    ("MALLOC_TOP_PAD_", "268435456"),
)

ONE_THREAD = (("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "1"))

PROGRAMS = {
    "ours": Program("ours/main.py", "project"),
    "our tables": Program("ours/main.py", "project"),  # gigabytes: in a process of their own
    # by themselves: their memory is measured, or capped
    "our encoding": Program("ours/main.py", "project"),
    "our streaming": Program("ours/main.py", "project"),
    "our training in memory": Program("ours/main.py", "project"),
    "polars": Program("peers/encode_polars.py", "project"),
    "our start": Program("ours/main.py", "project"),
    "our scores": Program("ours/main.py", "project"),
    "savedmodel start": Program("peers/savedmodel_main.py", "tensorflow"),
    "savedmodel": Program("peers/savedmodel_main.py", "tensorflow"),
    "our bulk": Program("ours/main.py", "project"),
    "our loop": Program("ours/main.py", "project"),
    "our choices": Program("ours/main.py", "project"),
    "numpy": Program("peers/numpy_main.py", "project"),
    "torch": Program("peers/torch_main.py", "torch", KEEP_MEMORY),
    "torch as it comes": Program("peers/torch_main.py", "torch"),
    "tfrs": Program("peers/tfrs_main.py", "tensorflow"),
    # by itself: after other work in the process FactorizedTopK was seen to take longer
    "tfrs evaluation": Program("peers/tfrs_main.py", "tensorflow"),
    # one query at a time, on one thread
    "our index": Program("ours/main.py", "project", ONE_THREAD),
    "scann": Program("peers/ann_main.py", "ann", ONE_THREAD),
    "usearch": Program("peers/ann_main.py", "ann"),  # which is told; its building may use all
    "our tutorials": Program("ours/tutorials.py", "project"),
    "growth": Program("ours/growth.py", "project"),
    "tfrs tutorials": Program("peers/tutorials.py", "tensorflow"),
}


def run(name: str, arguments: list[str], **more: str) -> Ran:
    """One process from its start to its end. A process that fails ends the bench with what it said."""
    program = PROGRAMS[name]
    command = [str(python_of(program.environment)), str(HERE / program.script), *arguments]
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=variables(program.environment, **dict(program.settings), **more),
        )
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            sys.exit(f"{program.describe(arguments)} failed:\n{said.read()[-4000:]}")
    told = [json.loads(line) for line in lines if line.startswith('{"name"')]
    return Ran(
        seconds,
        round(usage.ru_maxrss / (1024 if sys.platform == "linux" else 2**20), 1),
        {one["name"]: one["value"] for one in told},
        {one["name"]: one["detail"] for one in told},
    )


def in_turn(jobs: dict[str, list[str]], rounds: int) -> dict[str, list[Ran]]:
    """Every program once a round, the one that starts changing from round to round."""
    found: dict[str, list[Ran]] = {name: [] for name in jobs}
    names = list(jobs)
    for number in range(rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            print(
                f"round {number + 1} of {rounds}: {name} {' '.join(jobs[name])}", file=sys.stderr, flush=True
            )
            found[name].append(run(name, jobs[name]))
    return found
