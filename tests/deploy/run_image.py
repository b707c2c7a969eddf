"""The image of deploy/Dockerfile: linted, and built without an engine: its steps are done one by one, in
folders of the same names, and what comes of them is started as the image would be (`make test-deploy`)."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PLACES = ("/source", "/builder", "/shortlist", "/wheels", "/bundle", "/keys", "/events", "/nowhere")
KNOWN = {"FROM", "SHELL", "ENV", "ARG", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "HEALTHCHECK"} | {
    "STOPSIGNAL",
    "ENTRYPOINT",
    "CMD",
}
LIMITS = {"serve": 220, "serve-all": 330}
"""Megabytes (10^6 bytes) that the image has more than the one it is made from."""


Start = Callable[..., AbstractContextManager[Any]]


class Step(NamedTuple):
    stage: int
    name: str
    rest: str


def steps(text: str) -> Iterator[Step]:
    """The instructions, their lines joined, with the number of their stage."""
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    stage = -1
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        stage += name == "FROM"
        assert name in KNOWN, f"{name} is not done by this test"
        yield Step(stage, name, rest.strip())


STEPS = list(steps(DOCKERFILE.read_text(encoding="utf-8")))


def only(name: str) -> str:
    """What the one instruction of a name in the last stage says."""
    [found] = [step.rest for step in STEPS if step.name == name and step.stage == STEPS[-1].stage]
    return found


ANOTHER = int(only("USER").partition(":")[0])


@dataclass
class Image:
    """What the steps made. place: stands for the root of its files."""

    place: Path
    env: dict[str, str]

    def here(self, text: str) -> str:
        """A command's or a setting's text with the image's paths as they are here."""
        return re.sub(rf"(?<![\w.])({'|'.join(PLACES)})\b", lambda found: f"{self.place}{found[1]}", text)

    def python(self, code: str) -> str:
        return run([self.place / "shortlist" / "bin" / "python", "-c", code], self.place, self.env)


def run(command: list[str | Path], cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def ignored(path: str) -> bool:
    """Whether Dockerfile.dockerignore keeps a path from the builder: the last line that fits decides."""
    out = False
    for line in (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n"):
        pattern = line.strip().removeprefix("!")
        if not pattern or pattern.startswith("#"):
            continue
        parts = path.split("/")
        if any(fnmatch("/".join(parts[: n + 1]), pattern) for n in range(len(parts))) or (
            pattern.startswith("**/") and any(fnmatch(part, pattern[3:]) for part in parts)
        ):
            out = not line.startswith("!")
    return out


def copied(rest: str, cwd: Path) -> None:
    """COPY from the checkout."""
    *sources, target = rest.split()
    for source in sources:
        found = [path for path in (ROOT / source, *(ROOT / source).rglob("*")) if path.is_file()]
        found = [path for path in found if not ignored(path.relative_to(ROOT).as_posix())]
        assert found, f"COPY {source}: there is nothing, or it is ignored"
        for path in found:
            inside = path.name if path == ROOT / source else path.relative_to(ROOT / source).as_posix()
            to = cwd / target / inside
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)


def reachable(outside: Path) -> Path:
    """A Python that other users may run: this one, or a copy where it lies in somebody's home."""
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    if all(folder.stat().st_mode & 0o005 == 0o005 for folder in base.parents):
        return base
    unwanted = shutil.ignore_patterns("site-packages", "__pycache__", "test", "idlelib", "*.a", "share")
    shutil.copytree(sys.base_prefix, outside / "python", ignore=unwanted, symlinks=True)
    return outside / "python" / base.relative_to(Path(sys.base_prefix).resolve())


def built(place: Path, chosen: str) -> Image:
    """Do what the Dockerfile says, with SET as chosen; only what its last stage takes along stays."""
    tools = place.parent / "tools"
    if not tools.exists():
        tools.mkdir()
        (tools / "python").symlink_to(reachable(place.parent))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    image = Image(place, kept | {"PATH": f"{tools}:{os.environ['PATH']}"})
    cwd, kept_folders = place, set()
    for step in STEPS:
        if step.stage and step.name == "COPY":
            *options, source, target = step.rest.split()
            assert options[0] == "--from=build" and source == target
            kept_folders.add(source.strip("/"))
            if options[1:] == [f"--chown={ANOTHER}:{ANOTHER}"] and os.geteuid() == 0:
                os.chown(image.here(source), ANOTHER, ANOTHER)
        elif step.stage:
            continue
        elif step.name in ("ENV", "ARG"):
            given = dict(pair.split("=", 1) for pair in shlex.split(step.rest))
            image.env |= given | ({"SET": chosen} if "SET" in given else {})
        elif step.name == "WORKDIR":
            cwd = Path(image.here(step.rest))
            cwd.mkdir(parents=True)
        elif step.name == "COPY":
            copied(step.rest, cwd)
        elif step.name == "RUN":
            run(["/bin/sh", "-eu", "-c", image.here(step.rest)], cwd, image.env)
    for folder in place.iterdir():
        if folder.name not in kept_folders:
            shutil.rmtree(folder)
    settings = dict(pair.split("=", 1) for pair in shlex.split(only("ENV")))
    path = image.here(settings.pop("PATH")).replace("$PATH", "/usr/bin:/bin")
    image.env = {"PATH": path} | {name: image.here(value) for name, value in settings.items()}
    return image


@pytest.fixture(scope="module", params=sorted(LIMITS))
def chosen(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def image(outside: Path, chosen: str) -> Image:
    place = outside / chosen
    place.mkdir(mode=0o755)
    return built(place, chosen)


def test_the_linter_has_no_complaint() -> None:
    linter = os.environ.get("HADOLINT", "hadolint")
    done = subprocess.run([linter, "--no-fail", "-f", "json", DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0 and json.loads(done.stdout) == [], done.stdout + done.stderr


def test_the_linter_would_complain() -> None:
    linter = os.environ.get("HADOLINT", "hadolint")
    text = DOCKERFILE.read_text(encoding="utf-8").replace(
        'ENTRYPOINT ["shortlist", "serve"]', "CMD shortlist"
    )
    done = subprocess.run([linter, "-"], input=text, capture_output=True, text=True)
    assert done.returncode == 1 and "DL3025" in done.stdout


def test_it_begins_with_an_image_of_a_plain_name_and_is_no_root() -> None:
    assert {step.rest.split()[0] for step in STEPS if step.name == "FROM"} == {"python:3.11-slim"}
    assert ANOTHER >= 1000
    assert only("STOPSIGNAL") == "SIGTERM"
    installs = [line for step in STEPS if step.name == "RUN" for line in step.rest.split("&&")]
    for line in installs:
        if "pip install" in line or "pip wheel" in line:
            assert "--require-hashes" in line or "--no-index" in line, line


def test_it_holds_nothing_that_trains_and_stays_small(image: Image, chosen: str) -> None:
    absent = ["jax", "jaxlib", "polars", "scipy", "onnx", "equinox", "implicit", "pip", "hatchling"]
    there = f"from importlib.util import find_spec; print(*filter(find_spec, {absent}))"
    assert image.python(there).split() == []
    extra = "import psycopg, faiss" if chosen == "serve-all" else "import uvloop, httptools"
    image.python(extra)
    files = [path for path in image.place.rglob("*") if path.is_file() and not path.is_symlink()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    print(f"{chosen}: {megabytes:.0f} MB in {len(files):,} files")
    assert megabytes < LIMITS[chosen]


def test_it_serves_a_bundle_nobody_may_write_to(image: Image, bundle: Path, running: Start) -> None:
    """Started as the image starts it, but for the port: asked, examined, stopped; nothing is left behind."""
    before = {path for path in image.place.rglob("*")}
    words = [*json.loads(only("ENTRYPOINT")), str(bundle), "--open", "--host", "0.0.0.0"]
    command = [*words, "--port", "0", "--events", image.here("/events/events.db")]
    command[0] = shutil.which(command[0], path=image.env["PATH"]) or pytest.fail("no such command")
    with running(command, env=image.env, cwd=image.place, user=ANOTHER) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        answer = httpx.post(f"{url}/v1/recommend", json={"user_id": "405", "k": 3})
        assert answer.status_code == 200 and len(answer.json()["items"]) == 3, answer.text
        event = {"event_id": "1", "user_id": "405", "item_id": "50"}
        assert httpx.post(f"{url}/v1/events", json=event).json()["accepted"] == 1
        assert healthy(image, url).returncode == 0
        assert healthy(image, "http://127.0.0.1:9").returncode != 0
        status = Path(f"/proc/{server.process.pid}/status")
        if os.geteuid() == 0 and status.exists():
            assert re.search(rf"^Uid:\s+{ANOTHER}\s", status.read_text(), re.MULTILINE)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0
    left = {path.relative_to(image.place).as_posix() for path in set(image.place.rglob("*")) - before}
    assert left == {"events/events.db"}


def healthy(image: Image, url: str) -> subprocess.CompletedProcess[str]:
    """What HEALTHCHECK finds at an address."""
    command = json.loads(only("HEALTHCHECK").partition(" CMD ")[2])
    assert only("EXPOSE") == "8000" and "127.0.0.1:8000" in command[-1]
    command[-1] = command[-1].replace("http://127.0.0.1:8000", url)
    command[0] = shutil.which(command[0], path=image.env["PATH"])
    return subprocess.run(command, env=image.env, capture_output=True, text=True, timeout=30)


def test_its_own_command_asks_for_keys(image: Image, bundle: Path) -> None:
    """What CMD says can be understood; without the file of keys it names nothing is served."""
    words = [image.here(word) for word in json.loads(only("CMD"))]
    words[0] = str(bundle)
    program = shutil.which("shortlist", path=image.env["PATH"])
    assert program is not None
    done = subprocess.run(
        [program, "serve", *words, "--port", "0"], env=image.env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "keys.txt" in done.stderr
