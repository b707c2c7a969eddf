"""What a figure depends on beside the code: the machine and the versions, without the names of either."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PACKAGES = (
    "jax",
    "jaxlib",
    "equinox",
    "numpy",
    "polars",
    "torch",
    "tensorflow",
    "tf-keras",
    "tensorflow-recommenders",
    "faiss-cpu",
    "scann",
    "usearch",
)
_ASK = """
import importlib.metadata, json, platform, sys
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def hardware() -> dict[str, Any]:
    """Processor, cores this process may use, memory in GiB, operating system."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def versions(python: Path) -> dict[str, str]:
    """The versions of Python and of the packages that matter, as that interpreter sees them."""
    command = [str(python), "-c", _ASK, *PACKAGES]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def fingerprint(described: dict[str, Any]) -> str:
    """Twelve hex digits that change when anything described changes."""
    text = json.dumps(described, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _cpu() -> str:
    """The model, its family and the widest vector instructions: clouds often say no more than the brand."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    said = dict(part.split(":", 1) for part in lines if ":" in part)
    facts = {key.strip(): value.strip() for key, value in said.items()}
    flags = set(facts.get("flags", "").split())
    wide = next((name for name in ("avx512f", "avx2", "avx") if name in flags), "no avx")
    family = f"family {facts.get('cpu family')} model {facts.get('model')}"
    return f"{facts.get('model name', 'unknown')} {family} {wide}"
