from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from shortlist.api import probes
from shortlist.api.probes import PARTS, Part, try_part, try_parts, versions

BY_NAME = {part.name: part for part in PARTS}


def part(code: str, **packages: str) -> Part:
    return Part("own", "nothing", packages, code, "own")


def test_the_base_install_really_works() -> None:
    found = try_part(BY_NAME["base"])
    assert (found.status, found.said) == ("ok", "")
    assert found.to_dict()["needed"] and found.to_dict()["install"] == ""


def test_what_is_not_there_is_missing_and_never_started() -> None:
    found = try_part(part("raise SystemExit(1)", no_such_module="no-such-package", json="json"))
    assert (found.status, found.seconds) == ("missing", 0.0)
    assert found.said == "no-such-package: not installed"
    assert "'.[own]'" in found.to_dict()["install"]


def test_a_broken_package_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory before all others on the path, with an optuna that cannot be imported."""
    (tmp_path / "optuna").mkdir()
    (tmp_path / "optuna" / "__init__.py").write_text("raise RuntimeError('lib.so.7 has no symbol')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = try_part(BY_NAME["tune"])
    assert (found.status, found.said) == ("broken", "RuntimeError: lib.so.7 has no symbol")
    assert "'.[tune]'" in found.to_dict()["install"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "signal 11"),
        ("import os; os._exit(3)", "code 3"),
        ("assert 1 == 2, 'one is not two'", "AssertionError: one is not two"),
        ("import sys; sys.stderr.buffer.write(b'\\xff bad bytes'); sys.exit(1)", "bad bytes"),
    ],
)
def test_whatever_a_process_does_is_a_finding(code: str, said: str) -> None:
    found = try_part(part(code))
    assert found.status == "broken" and said in found.said


def test_a_part_that_hangs_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "TIMEOUT", 0.2)
    found = try_part(part("import time; time.sleep(60)"))
    assert found.status == "broken" and "no answer" in found.said


def test_without_a_python_every_part_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert "cannot start" in try_part(part("")).said


def test_parts_tell_facts_on_their_last_line_and_keep_their_order() -> None:
    codes = [
        "import time; time.sleep(0.3); print('{\"n\": 1}')",
        "print('hello'); print('{\"n\": 2}')",
        "print(3)",
    ]
    found = try_parts([part(code) for code in codes], at_once=3)
    assert [each.facts for each in found] == [{"n": 1}, {"n": 2}, {}]


def test_a_file_of_this_folder_is_not_taken_for_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise ImportError('not the real one')\n")
    monkeypatch.chdir(tmp_path)
    assert try_part(part("import json; json.dumps(1)")).status == "ok"


def test_every_part_says_what_it_imports() -> None:
    """A module a part imports and does not name would be called broken where it is missing."""
    for each in PARTS:
        found = set()
        for node in ast.walk(ast.parse(each.code)):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).split(".")[0])
        brought_along = {"numpy"}  # every install has it
        assert found - set(sys.stdlib_module_names) - brought_along <= set(each.packages), each.name


def test_extras_are_those_of_the_project() -> None:
    import tomllib

    page = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(page.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert {each.extra for each in PARTS if each.extra} <= set(extras)


def test_versions_are_those_installed() -> None:
    import numpy

    found = versions()
    assert found["numpy"] == numpy.__version__
    assert all(found[name] is not None for name in BY_NAME["base"].packages.values())


@pytest.mark.slow
def test_every_installed_part_works() -> None:
    for found in try_parts():
        assert found.status in ("ok", "missing"), f"{found.part.name}: {found.said}"
        assert found.status == "ok" or found.part.name in ("serve", "postgres", "ann", "tune"), found.said
    assert next(found for found in try_parts([BY_NAME["train"]])).facts["devices"]


BASE_ALONE = """
import sys
for name in ("polars", "jax", "jaxlib", "scipy", "equinox", "onnx", "implicit", "optuna", "pandas", "numpy"):
    sys.modules[name] = None
from shortlist.api import examining
examining.try_parts = lambda: ()
found = examining.examine()
print(found.well, found.devices, found.machine["cores_usable"] > 0, sorted(found.to_dict()))
"""


def test_an_examination_needs_no_package_of_numbers_or_tables() -> None:
    done = subprocess.run([sys.executable, "-c", BASE_ALONE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True [] True")
