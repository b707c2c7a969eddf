"""The distribution: what it holds, and that it works and stays small in an empty environment.

Slow and in need of a package index, so a group of its own: `make test-dist`.
"""

from __future__ import annotations

import email.message
import email.parser
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.dist, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
# Megabytes (10^6 bytes) of the installed packages' own files, pip not among them. Bytecode caches, which an
# installer may or may not write, are counted apart in `docs/sizes.json`.
LIMITS = {"base": 350, "serve": 200, "all": 850}
EXTRAS = {"tables", "baselines", "train", "tune", "serve", "postgres", "ann", "tensorflow", "gpu", "all"}
RECOMMEND = """
import json, sys
import shortlist
bundle = shortlist.load(sys.argv[1])
print(json.dumps([row["item_id"] for row in bundle.recommend({"user_id": "42"}, k=10).to_dicts()]))
"""


def run(command: list[str | Path], cwd: Path, timeout: float = 900) -> str:
    """The output of a command that must succeed, run without the caller's Python path."""
    environment = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, (
        f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout


@dataclass(frozen=True)
class Environment:
    """A virtual environment that holds the wheel, one locked set, and nothing of this repository."""

    home: Path
    sizes: dict[str, int]

    def python(self, *arguments: str | Path, cwd: Path) -> str:
        return run([self.home / "bin" / "python", *arguments], cwd)

    def shortlist(self, *arguments: str | Path, cwd: Path) -> str:
        return run([self.home / "bin" / "shortlist", *arguments], cwd)


def weigh(home: Path) -> dict[str, int]:
    """Bytes of files and of bytecode caches, and the number of distributions, in site-packages."""
    (packages,) = home.glob("lib/python3*/site-packages")
    weights = {False: 0, True: 0}
    for path in packages.rglob("*"):
        if path.is_file() and not path.is_symlink():
            weights[path.suffix == ".pyc"] += path.stat().st_size
    return {
        "megabytes": weights[False],
        "megabytes_of_bytecode": weights[True],
        "packages": len(list(packages.glob("*.dist-info"))),
    }


def install(home: Path, name: str, requirement: str) -> Environment:
    venv.create(home, with_pip=True)
    before = weigh(home)
    pip: list[str | Path] = [home / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", "--require-hashes", "-r", ROOT / "requirements" / f"{name}.txt"], home)
    # Without an index: what the lock does not hold is an error, not a download.
    run([*pip, "install", "--quiet", "--no-index", requirement], home)
    run([*pip, "check"], home)
    added = {name: total - before[name] for name, total in weigh(home).items()}
    return Environment(home, {name: round(n / 1e6) if name != "packages" else n for name, n in added.items()})


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel, built from the sdist, and the sdist."""
    place = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", place, ROOT], ROOT)
    (wheel,), (sdist,) = place.glob("*.whl"), place.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def all_environment(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    requirement = f"shortlist[all] @ {built[0].as_uri()}"
    return install(tmp_path_factory.mktemp("environment") / "all", "all", requirement)


@pytest.fixture(scope="module")
def base_environment(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    requirement = f"shortlist @ {built[0].as_uri()}"
    return install(tmp_path_factory.mktemp("environment") / "base", "base", requirement)


@pytest.fixture(scope="module")
def serve_environment(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    requirement = f"shortlist[serve] @ {built[0].as_uri()}"
    return install(tmp_path_factory.mktemp("environment") / "serve", "serve", requirement)


@pytest.fixture(scope="module")
def quickstart(all_environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the README's first Python block was run, by the installed wheel alone."""
    block = re.search(
        r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert block, "README.md has no Python block to be the quickstart"
    place = tmp_path_factory.mktemp("quickstart")
    (place / "quickstart.py").write_text(block[1], encoding="utf-8")
    all_environment.python("quickstart.py", cwd=place)
    return place


@pytest.fixture(scope="module")
def bundle(quickstart: Path) -> Path:
    """What the quickstart saved."""
    found = [path.parent for path in quickstart.rglob("manifest*.json")]
    assert found, "the quickstart saves no bundle"
    return found[0]


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return email.parser.Parser().parsestr(archive.read(name).decode("utf-8"))


def test_the_wheel_holds_every_file_of_the_package(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as archive:
        held = {name for name in archive.namelist() if name.startswith("shortlist/")}
    source = ROOT / "src"
    expected = {
        path.relative_to(source).as_posix()
        for path in (source / "shortlist").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == expected
    assert "shortlist/py.typed" in held
    assert any(re.fullmatch(r"shortlist/recipes/[\w-]+\.toml", name) for name in held)


def test_the_sdist_can_be_built_and_tested(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    for name in [
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "Makefile",
        "src/shortlist/py.typed",
    ]:
        assert name in held
    assert {"tests/house/test_dist.py", "requirements/dev.txt", "tools/architecture.py"} <= held
    assert not [name for name in held if "__pycache__" in name or name.startswith((".venv", "runs", "build"))]


def test_the_metadata_says_what_is_promised(built: tuple[Path, Path]) -> None:
    facts = metadata(built[0])
    assert facts["Requires-Python"] == ">=3.11"
    assert facts["License-Expression"] == "Apache-2.0"
    assert set(facts.get_all("Provides-Extra", [])) == EXTRAS
    wanted = [entry for entry in facts.get_all("Requires-Dist", []) if "extra == 'tensorflow'" not in entry]
    needed = " ".join(wanted)
    assert not re.search(r"\b(torch|tensorflow)", needed)
    base = [entry for entry in facts.get_all("Requires-Dist", []) if "extra ==" not in entry]
    assert not [entry for entry in base if re.match(r"jax|polars|scipy|onnx\b(?!runtime)|implicit", entry)]


def test_no_locked_set_holds_another_framework() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        if path.name == "savedmodel.txt":
            continue
        assert not re.search(r"^(torch|tensorflow)", path.read_text("utf-8"), re.MULTILINE), path.name


def test_installed_sizes_stay_within_their_limits(
    base_environment: Environment, serve_environment: Environment, all_environment: Environment
) -> None:
    sizes = {
        "base": base_environment.sizes,
        "serve": serve_environment.sizes,
        "all": all_environment.sizes,
    }
    where = {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", "platform": platform.system().lower()}
    page = json.dumps({**where, "machine": platform.machine(), "installed": sizes}, indent=2) + "\n"
    # measured into build/; docs/ takes it over when asked to, together with the README that quotes it
    target = ROOT / ("docs" if os.environ.get("KEEP_SIZES") else "build") / "sizes.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(page, encoding="utf-8")
    for name, limit in LIMITS.items():
        assert sizes[name]["megabytes"] < limit, f"{name} takes {sizes[name]['megabytes']} MB"


def test_the_command_answers_when_installed(base_environment: Environment, tmp_path: Path) -> None:
    assert "recommend" in base_environment.shortlist("--help", cwd=tmp_path)


def test_the_quickstart_ends_in_a_bundle_that_recommends(
    all_environment: Environment, quickstart: Path, bundle: Path
) -> None:
    assert len(json.loads(all_environment.python("-c", RECOMMEND, bundle, cwd=quickstart))) == 10


def test_the_base_install_recommends_the_same(
    base_environment: Environment, all_environment: Environment, bundle: Path, tmp_path: Path
) -> None:
    found = (
        "from importlib.util import find_spec; print(*filter(find_spec, ['jax', 'polars', 'scipy', 'onnx']))"
    )
    assert base_environment.python("-c", found, cwd=tmp_path).split() == []
    alone = json.loads(base_environment.python("-c", RECOMMEND, bundle, cwd=tmp_path))
    assert alone == json.loads(all_environment.python("-c", RECOMMEND, bundle, cwd=tmp_path))
    said = base_environment.shortlist("recommend", bundle, "--user", "42", "-k", "10", "--json", cwd=tmp_path)
    assert [row["item_id"] for row in json.loads(said)] == alone


def test_the_base_install_exports_and_adds_items(
    base_environment: Environment, bundle: Path, tmp_path: Path
) -> None:
    base_environment.shortlist("export", bundle, "-o", "copy", cwd=tmp_path)
    base_environment.shortlist("export", bundle, "-o", "serving", "--serving", cwd=tmp_path)
    (tmp_path / "new.csv").write_text("item_id,title\nnew,New\n", encoding="utf-8")
    added = base_environment.shortlist("index", "add", "copy", "--items", "new.csv", "--json", cwd=tmp_path)
    assert json.loads(added)["added"] == 1
