"""`examine`: the machine, the installation and its parts, as they are. Needs the base install alone."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shortlist.api.probes import Finding, try_parts, versions
from shortlist.data.download import cache_folder
from shortlist.data.machine import (
    available_memory,
    cores,
    free_disk,
    physical,
    quota,
    size_of,
    writable,
)

THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "XLA_FLAGS",
    "JAX_PLATFORMS",
    "CUDA_VISIBLE_DEVICES",
)
LITTLE = 2**30
"""Bytes of memory or disk below which a note is due: the demo takes about as much."""


@dataclass(frozen=True)
class Examination:
    """What was found, in plain values.

    versions: of packages, None where one is absent. machine: system, cores, bytes of memory. settings: the
    environment's, of threads and devices. caches, disk: places, bytes, whether they can be written.
    """

    versions: Mapping[str, str | None]
    machine: Mapping[str, Any]
    settings: Mapping[str, str | None]
    caches: tuple[Mapping[str, Any], ...]
    disk: tuple[Mapping[str, Any], ...]
    parts: tuple[Finding, ...]

    @property
    def well(self) -> bool:
        """Whether everything works that the base install is for."""
        return all(found.status == "ok" for found in self.parts if not found.part.extra)

    @property
    def devices(self) -> list[str]:
        """What JAX computes on; nothing where it is absent or broken."""
        told = (found.facts.get("devices") for found in self.parts if found.part.name == "train")
        return next((list(devices) for devices in told if devices), [])

    @property
    def notes(self) -> list[str]:
        """What a person may want to change, a sentence each."""
        return [text for text in (rule(self) for rule in _RULES) if text]

    def to_dict(self) -> dict[str, Any]:
        return {
            "well": self.well,
            "notes": self.notes,
            "versions": dict(self.versions),
            "machine": dict(self.machine),
            "devices": self.devices,
            "settings": dict(self.settings),
            "caches": [dict(cache) for cache in self.caches],
            "disk": [dict(place) for place in self.disk],
            "parts": [found.to_dict() for found in self.parts],
        }


def examine() -> Examination:
    """Look at everything. Takes the seconds in which every installed part is started once."""
    from shortlist import __version__

    parts = tuple(try_parts())
    return Examination(
        versions={"python": platform.python_version(), "shortlist": __version__, **versions()},
        machine=_machine(),
        settings={name: os.environ.get(name) for name in THREADS},
        caches=_caches(),
        disk=_disk(),
        parts=parts,
    )


def _machine() -> dict[str, Any]:
    free, limit = available_memory()
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "executable": sys.executable,
        "cores": os.cpu_count() or 1,
        "cores_usable": cores(),
        "cores_quota": quota(),
        "memory_bytes": physical(),
        "memory_free_bytes": free,
        "memory_limit": limit,
        "nvidia_driver": shutil.which("nvidia-smi") is not None,
    }


def _caches() -> tuple[dict[str, Any], ...]:
    data = cache_folder()
    programs = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or data / "programs")
    return _cache("downloads", data), _cache("compiled programs", programs)


def _cache(name: str, folder: Path) -> dict[str, Any]:
    nbytes, num_files = size_of(folder)
    return {
        "cache": name,
        "path": str(folder),
        "bytes": nbytes,
        "files": num_files,
        "writable": writable(folder),
    }


def _disk() -> tuple[dict[str, Any], ...]:
    places = {
        "this folder": Path.cwd(),
        "cache": cache_folder(),
        "temporary files": Path(tempfile.gettempdir()),
    }
    return tuple(
        {"place": name, "path": str(path), "free_bytes": free_disk(path), "writable": writable(path)}
        for name, path in places.items()
    )


def _of_needed(found: Examination) -> str:
    bad = [part.part for part in found.parts if part.status != "ok" and not part.part.extra]
    return f"nothing works without {bad[0].name}: {bad[0].install}" if bad else ""


def _of_threads(found: Examination) -> str:
    most, usable = found.machine["cores_quota"], found.machine["cores_usable"]
    if most is None or most >= usable or found.settings["OMP_NUM_THREADS"]:
        return ""
    threads = max(1, int(most))
    return (
        f"the container has the time of {most:g} cores of {usable}: threads wait for each other;"
        f" OMP_NUM_THREADS={threads} OPENBLAS_NUM_THREADS={threads} may be faster"
    )


def _of_caches(found: Examination) -> str:
    bad = [cache["path"] for cache in found.caches if not cache["writable"]]
    return (
        f"{bad[0]} cannot be written: nothing is kept; SHORTLIST_CACHE=DIR names another place" if bad else ""
    )


def _of_room(found: Examination) -> str:
    tight = [p["place"] for p in found.disk if p["free_bytes"] is not None and p["free_bytes"] < LITTLE]
    return f"less than 1 GiB of disk is free for {', '.join(tight)}" if tight else ""


def _of_memory(found: Examination) -> str:
    little = found.machine["memory_free_bytes"] < LITTLE
    return f"less than 1 GiB of memory is free ({found.machine['memory_limit']})" if little else ""


def _of_gpu(found: Examination) -> str:
    backend = next((p.facts.get("backend") for p in found.parts if p.part.name == "train"), None)
    if not found.machine["nvidia_driver"] or backend != "cpu" or found.settings["JAX_PLATFORMS"] == "cpu":
        return ""
    return "there is an NVIDIA driver, and JAX computes on the CPU: pip install '.[gpu]' in a checkout"


_RULES: tuple[Callable[[Examination], str], ...] = (
    _of_needed,
    _of_threads,
    _of_caches,
    _of_room,
    _of_memory,
    _of_gpu,
)
