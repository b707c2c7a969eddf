"""The examples as they stand, run beside the tools they write to: `make test-examples`.

Tools and what the package needs lie in an environment of their own, whose Python `EXAMPLES_PYTHON` names;
without it this fails. The file is not named test_*, so that only a command which names it runs it.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PYTHON = Path(os.environ.get("EXAMPLES_PYTHON", ROOT / "build" / "examples" / "bin" / "python"))

RUN = """
import json, runpy, sys
names = runpy.run_path(sys.argv[1], run_name="__main__")
print(json.dumps(names["fitted"].history))
"""
READ = """
import json
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
board = EventAccumulator("runs/board").Reload()
print(json.dumps({tag: [[e.step, e.value] for e in board.Scalars(tag)] for tag in board.Tags()["scalars"]}))
"""
NAMES = {"loss of retrieval": "loss/retrieval", "validation ndcg@10": "validation/ndcg_at_10"}


def python(code: str, *words: str | Path, cwd: Path) -> Any:
    """What a program prints last, as JSON."""
    assert PYTHON.is_file(), f"no {PYTHON}: run `make test-examples`"
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    command = [str(PYTHON), "-c", code, *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_tensorboard_reads_back_every_figure(tmp_path: Path) -> None:
    history = python(RUN, EXAMPLES / "log_to_tensorboard.py", cwd=tmp_path)
    found = python(READ, cwd=tmp_path)
    assert set(history) == set(NAMES) and set(found) == set(NAMES.values())
    for name, tag in NAMES.items():
        assert [step for step, _ in found[tag]] == [1, 2, 3, 4]
        assert [value for _, value in found[tag]] == pytest.approx(history[name], rel=1e-6)
    assert history["loss of retrieval"][-1] < history["loss of retrieval"][0]


def test_the_database_of_mlflow_holds_every_figure(tmp_path: Path) -> None:
    history = python(RUN, EXAMPLES / "log_to_mlflow.py", cwd=tmp_path)
    database = sqlite3.connect(tmp_path / "mlflow.db")
    for name, metric in NAMES.items():
        rows = database.execute("SELECT step, value FROM metrics WHERE key = ? ORDER BY step", [metric])
        assert rows.fetchall() == [(at, pytest.approx(value)) for at, value in enumerate(history[name], 1)]
    assert set(row[0] for row in database.execute("SELECT DISTINCT key FROM metrics")) == set(NAMES.values())
    settings = dict(database.execute("SELECT key, value FROM params"))
    assert (settings["epochs"], settings["seed"]) == ("4", "42")
    assert database.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]
    database.close()
    (bundle,) = tmp_path.glob("mlruns/*/*/artifacts/bundle")
    import shortlist as sl

    assert len(sl.load(bundle).recommend({"user_id": "42"}, k=5)) == 5
