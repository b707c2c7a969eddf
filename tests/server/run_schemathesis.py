"""A server asked by its own OpenAPI document, with values that fit it and values that do not.

`make test-schemathesis`. Schemathesis lies in an environment of its own, whose Python `SCHEMATHESIS_PYTHON`
names; without it this fails. The file is not named test_*, so that only a command which names it runs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = Path(os.environ.get("SCHEMATHESIS_PYTHON", ROOT / "build" / "schemathesis" / "bin" / "python"))
RUN = "from shortlist.cli import main; main()"
ASKED = ("--phases", "examples,coverage,fuzzing", "--max-examples", "50", "--generation-deterministic")
LEFT_OUT = "positive_data_acceptance"  # a name of the right type need not be one of a column
VALIDATE = "import json, sys; from openapi_spec_validator import validate; validate(json.load(sys.stdin))"


@pytest.fixture(scope="module")
def url(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose bodies may be as long as the document's lists can be."""
    folder = tmp_path_factory.mktemp("asked")
    command = [sys.executable, "-c", RUN, "serve", str(bundle), "--port", "0", "--max-body", str(1 << 26)]
    process = subprocess.Popen(
        [*command, "--events", str(folder / "events.db")], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        yield json.loads(process.stderr.readline())["url"]
        process.terminate()
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert '"fault"' not in said and "Traceback" not in said, said


def asked(url: str, *words: str) -> None:
    assert PYTHON.is_file(), f"no {PYTHON}: run `make test-schemathesis`"
    command = [str(PYTHON.parent / "st"), "run", f"{url}/openapi.json", *ASKED, *words, "--no-color"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=PYTHON.parents[1])
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-20_000:]
    assert httpx.get(f"{url}/health/ready").status_code == 200


def test_the_document_is_valid(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json").text
    done = subprocess.run([str(PYTHON), "-c", VALIDATE], input=document, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_question_is_answered_with_a_fault(url: str) -> None:
    """Statuses, types and bodies of answers are as documented, and what does not fit is refused."""
    asked(url, "--exclude-checks", LEFT_OUT, "--exclude-operation-id", "events")


def test_events_of_a_batch_are_refused_one_by_one(url: str) -> None:
    """So that a batch with a bad one in it is accepted."""
    asked(url, "--exclude-checks", f"{LEFT_OUT},negative_data_rejection", "--include-operation-id", "events")


def test_with_keys_nothing_is_answered_without_one(bundle: Path, tmp_path: Path) -> None:
    from shortlist.server.guards import ADMIN, add_key

    file = tmp_path / "keys.txt"
    key = add_key(file, "me", ADMIN)
    command = [sys.executable, "-c", RUN, "serve", str(bundle), "--port", "0", "--keys", str(file)]
    process: Any = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        url = json.loads(process.stderr.readline())["url"]
        bearer = f"Authorization: Bearer {key}"
        asked(url, "-H", bearer, "--checks", "not_a_server_error,ignored_auth", "--phases", "coverage")
    finally:
        process.terminate()
        process.communicate(timeout=30)
