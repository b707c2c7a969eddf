"""A bundle to serve, a place every user can reach, and servers as processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(eq=False)
class Running:
    """A server that answers. url: where; said: what it wrote to stderr so far, line by line."""

    process: subprocess.Popen[str]
    url: str
    said: list[str]


@contextmanager
def _running(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    user: int | None = None,
    sandbox: Callable[[], None] | None = None,
) -> Iterator[Running]:
    options: dict[str, Any] = {"preexec_fn": sandbox}
    if user is not None and os.geteuid() == 0:
        options |= {"user": user, "group": user, "extra_groups": []}
    words = [str(word) for word in command]
    process = subprocess.Popen(words, env=dict(env), cwd=cwd, stderr=subprocess.PIPE, text=True, **options)
    assert process.stderr is not None
    late = threading.Timer(60, process.kill)  # a server that says nothing
    late.start()
    said = [process.stderr.readline()]
    late.cancel()
    reader = threading.Thread(target=said.extend, args=(process.stderr,))
    reader.start()
    try:
        if not said[0].startswith("{"):
            process.kill()
            reader.join()
            raise AssertionError("".join(said))
        yield Running(process, json.loads(said[0])["url"], said)
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


@pytest.fixture(scope="session")
def running() -> Callable[..., AbstractContextManager[Running]]:
    """Starts a server by a command and kills it in the end. user: who it is to be, if root starts it;
    sandbox: done in the process before the command."""
    return _running


@pytest.fixture(scope="session")
def outside() -> Iterator[Path]:
    """A folder that other users can reach."""
    place = Path(tempfile.mkdtemp(prefix="shortlist-deploy-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture(scope="session")
def bundle(joint: Any, outside: Path) -> Path:
    """A bundle of the small joint model, which nobody may write to."""
    path = outside / "bundle"
    joint.recommender().save(path)
    for each in [path, *path.rglob("*")]:
        each.chmod(0o555 if each.is_dir() else 0o444)
    return path
