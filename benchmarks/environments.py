"""The peers' environments: made by the bench under build/, never part of the project's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BUILD = ROOT / "build" / "bench"
PEERS = ("torch", "tensorflow", "ann")
PINS = {"savedmodel": ROOT / "requirements" / "savedmodel.txt"}
"""Environments that measure nothing: here JAX and TensorFlow together, to write a SavedModel."""


def python_of(environment: str) -> Path:
    """The interpreter that runs a side: "project" is the one that runs the bench."""
    return Path(sys.executable) if environment == "project" else BUILD / environment / "bin" / "python"


def install(environment: str) -> float:
    """Make a peer's environment from its pinned versions unless it is there; the seconds that took.

    The marker holds the pins and is written last: an install that was interrupted, or of other pins, starts
    again.
    """
    pins = PINS.get(environment, HERE / "peers" / f"{environment}.txt")
    folder = BUILD / environment
    marker = folder / ".ready"
    if marker.exists() and marker.read_text() == pins.read_text():
        return 0.0
    start = time.perf_counter()
    print(f"installing {environment} ...", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _make(folder)
    subprocess.run(
        [str(python_of(environment)), "-m", "pip", "install", "--quiet", "-r", str(pins)],
        check=True,
        env=_clean(os.environ),
    )
    marker.write_text(pins.read_text())
    return time.perf_counter() - start


def _make(folder: Path) -> None:
    """An empty environment; with the pip of this Python where its ensurepip is missing."""
    base = getattr(sys, "_base_executable", sys.executable)
    made = subprocess.run([base, "-m", "venv", str(folder)], capture_output=True, check=False)
    if made.returncode:
        subprocess.run([base, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(folder / "bin" / "python"),
            "install",
            "--quiet",
            "pip",
        ]
        subprocess.run(pip, check=True)


def variables(environment: str, **more: str) -> dict[str, str]:
    """The environment variables of a measuring process: the caller's, less what would favour or hamper it.

    Byte code may be cached (imports are timed); JAX's own switches and TensorFlow's chatter are off; only the
    project's side inherits PYTHONPATH. The bench's shared modules can be imported by all.
    """
    found = _clean(os.environ)
    path = [str(HERE)]
    if environment == "project" and os.environ.get("PYTHONPATH"):
        path.append(os.environ["PYTHONPATH"])
    found |= {"PYTHONPATH": os.pathsep.join(path), "BENCH_DATA": str(BUILD / "data"), "JAX_PLATFORMS": "cpu"}
    if environment == "tensorflow":
        found |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    return found | more


def _clean(given: os._Environ[str]) -> dict[str, str]:
    return {
        name: value
        for name, value in given.items()
        if not name.startswith(("JAX_", "XLA_", "TF_", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"))
    }
