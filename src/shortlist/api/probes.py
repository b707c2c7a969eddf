"""Whether the parts of an installation work: each does a tiny piece of its work in a process of its own.

Whatever a package does there, hang or end the process even, is a finding and no more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, Literal

Status = Literal["ok", "missing", "broken"]
TIMEOUT = 120.0
"""Seconds a part may take: a cold start on a slow disk, many times over."""

# y = x + x in float32[1], as bytes of an ONNX file, so that running one needs no package that writes one
_ONNX = (
    "08083a350a0e0a01780a017812017922034164641201675a0f0a0178120a0a08080112040a02"
    "0801620f0a0179120a0a08080112040a02080142040a00100d"
)


@dataclass(frozen=True)
class Part:
    """What can be installed and tried.

    packages: distributions by the module they bring. code: raises where the part does not work; prints a JSON
    object of facts last, if it has any to tell. extra: what installs it; "": the base install.
    """

    name: str
    does: str
    packages: dict[str, str]
    code: str
    extra: str = ""

    @property
    def install(self) -> str:
        """The command that brings it."""
        return f"pip install '.[{self.extra}]' in a checkout" if self.extra else "install Shortlist again"


@dataclass(frozen=True)
class Finding:
    """How a part is. said: what is wrong with it; facts: what it told of itself; seconds: to try it."""

    part: Part
    status: Status
    said: str = ""
    seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "part": self.part.name,
            "does": self.part.does,
            "needed": not self.part.extra,
            "status": self.status,
            "said": self.said,
            "install": "" if self.status == "ok" else self.part.install,
            "seconds": round(self.seconds, 2),
            "facts": self.facts,
        }


PARTS = (
    Part(
        "base",
        "recommends from a bundle",
        {
            "numpy": "numpy",
            "onnxruntime": "onnxruntime",
            "msgspec": "msgspec",
            "rich": "rich",
            "typer": "typer",
            "tomli_w": "tomli-w",
        },
        f"""
import msgspec, numpy, onnxruntime, rich, tomli_w, typer
session = onnxruntime.InferenceSession(bytes.fromhex("{_ONNX}"), providers=["CPUExecutionProvider"])
assert session.run(None, {{"x": numpy.float32([1.5])}})[0].tolist() == [3.0], "a tiny ONNX session is wrong"
assert msgspec.json.decode(b"[1]") == [1] and tomli_w.dumps({{"a": 1}}) == "a = 1\\n"
""",
    ),
    Part(
        "tables",
        "reads tables, splits and evaluates",
        {"polars": "polars"},
        """
import io, polars
table = polars.DataFrame({"user_id": ["a", None], "n": [1, 2]})
file = io.BytesIO()
table.write_parquet(file)
file.seek(0)
assert polars.read_parquet(file).equals(table), "a tiny Parquet file is read otherwise than written"
""",
        "tables",
    ),
    Part(
        "train",
        "fits models",
        {"jax": "jax", "jaxlib": "jaxlib", "equinox": "equinox", "scipy": "scipy"},
        """
import json, equinox, jax, scipy.sparse
assert float(jax.jit(lambda x: 2 * x + 1)(3.0)) == 7.0, "a tiny compiled program is wrong"
print(json.dumps({"backend": jax.default_backend(), "devices": [str(d.device_kind) for d in jax.devices()]}))
""",
        "train",
    ),
    Part(
        "export",
        "writes ONNX files",
        {"onnx": "onnx"},
        f"""
import onnx
onnx.checker.check_model(onnx.load_from_string(bytes.fromhex("{_ONNX}")))
""",
        "train",
    ),
    Part(
        "baselines",
        "iALS beside the model",
        {"implicit": "implicit", "scipy": "scipy"},
        """
import numpy, scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares
model = AlternatingLeastSquares(factors=2, iterations=2, random_state=0, num_threads=1)
model.fit(scipy.sparse.csr_matrix(numpy.eye(3, dtype=numpy.float32)), show_progress=False)
assert numpy.isfinite(model.user_factors).all(), "iALS on three users gives no numbers"
""",
        "baselines",
    ),
    Part(
        "tune",
        "searches settings",
        {"optuna": "optuna"},
        """
import optuna
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study()
study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
assert 0 <= study.best_value <= 1
""",
        "tune",
    ),
    Part(
        "serve",
        "answers over HTTP",
        {
            "uvicorn": "uvicorn",
            "httptools": "httptools",
            "prometheus_client": "prometheus-client",
        },
        """
import asyncio, httptools, json, prometheus_client, uvicorn
assert httptools.parse_url(b"/v1/items?q=a").query == b"q=a", "an address is read otherwise"
assert b"python_info" in prometheus_client.generate_latest(), "no metrics are written"
factory = uvicorn.Config("none", loop="auto").get_loop_factory()
with asyncio.Runner(loop_factory=factory) as runner:
    loop = type(runner.get_loop()).__module__.split(".")[0]
print(json.dumps({"event_loop": loop}))
""",
        "serve",
    ),
    Part(
        "postgres",
        "keeps a server's events in PostgreSQL",
        {"psycopg": "psycopg"},
        """
import json, psycopg
assert psycopg.conninfo.conninfo_to_dict("postgresql://u@h/d")["host"] == "h", "an address is read otherwise"
print(json.dumps({"implementation": psycopg.pq.__impl__}))
""",
        "postgres",
    ),
    Part(
        "ann",
        "what approximate search needs",
        {"faiss": "faiss-cpu"},
        """
import faiss, numpy
index = faiss.IndexFlatIP(2)
index.add(numpy.float32([[1, 0], [0, 1]]))
assert index.search(numpy.float32([[0, 1]]), 1)[1].tolist() == [[1]], "a tiny index finds the wrong vector"
""",
        "ann",
    ),
)

# beside the parts' own: what tables may come from
OTHERS = ("pandas", "pyarrow", "duckdb")


def try_parts(parts: Iterable[Part] = PARTS, *, at_once: int = 2) -> list[Finding]:
    """Every part tried, in the order given; a part that is missing or broken is found so, never raised."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(try_part, parts))


def try_part(part: Part) -> Finding:
    """One part, in a process of its own."""
    absent = [package for module, package in part.packages.items() if not _there(module)]
    if absent:
        return Finding(part, "missing", f"{', '.join(absent)}: not installed")
    # a look at the devices is no reason to take all of a GPU's memory
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "PYTHONWARNINGS": "ignore"}
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", part.code],  # -P: whatever lies in this folder is none of it
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Finding(part, "broken", f"gave no answer within {TIMEOUT:.0f} s", TIMEOUT)
    except OSError as error:
        return Finding(part, "broken", f"cannot start {sys.executable}: {error}")
    seconds = time.perf_counter() - start
    if done.returncode:
        return Finding(part, "broken", _reason(done), seconds)
    return Finding(part, "ok", "", seconds, _facts(done.stdout))


def versions() -> dict[str, str | None]:
    """The version of every package a part needs, and of some others; None where it is not installed."""
    packages = [package for part in PARTS for package in part.packages.values()]
    return {name: _version(name) for name in dict.fromkeys([*packages, *OTHERS])}


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
    except Exception as error:  # damaged metadata says little about the package
        return f"unreadable ({type(error).__name__})"


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why a process failed: its last line, or the signal that ended it."""
    if done.returncode < 0:
        return f"its process was ended by signal {-done.returncode}"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"its process ended with code {done.returncode}"


def _facts(text: str) -> dict[str, Any]:
    """The JSON object on the last line, if there is one."""
    try:
        found = json.loads(text.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
