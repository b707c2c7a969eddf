"""House rules: the drawn tree is true, modules and functions stay small, nothing private is committed."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "src" / "shortlist").rglob("*.py"))
MODULE_LINES, FUNCTION_LINES = 450, 80

# Written in pieces, so that this file does not hold what it forbids.
FORBIDDEN = {
    "an index address": re.compile(
        r"\bpy" + r"pi\.org|python" + r"hosted|--(extra-)?index-" + r"url|--find-" + r"links"
    ),
    "an absolute machine path": re.compile(r"(?<![\w.~}/])/(root|home|work|opt|tmp|Users)" + r"/\w"),
    "an issue number": re.compile(r"\bissue" + r"s?\s*#", re.IGNORECASE),
}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def committed() -> list[Path]:
    """What git tracks; in an unpacked sdist, which has no git, everything."""
    if (ROOT / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = list(ROOT.rglob("*"))
    return sorted(path for path in paths if path.is_file())


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_the_drawn_tree_is_the_present_one() -> None:
    architecture = load(ROOT / "tools" / "architecture.py")
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert page == architecture.rewritten(page), "run `make architecture`"


def test_the_chain_on_the_page_is_the_one_that_is_tested() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawn = re.search(r"```text\n(errors, .*?)```", page, re.DOTALL)
    tested = re.search(r'CHAIN = """(.*?)"""', (ROOT / "tests/house/test_imports.py").read_text(), re.DOTALL)
    assert drawn and tested
    assert drawn[1].split() == tested[1].split()


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_modules_are_documented_and_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{named(path)} has no docstring"
    assert len(text.splitlines()) <= MODULE_LINES, f"{named(path)} is longer than {MODULE_LINES} lines"
    for function in functions(tree):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        assert lines <= FUNCTION_LINES, f"{named(path)}:{function.lineno} {function.name} has {lines} lines"


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "base", "misc"])
def test_no_module_is_named_after_nothing(name: str) -> None:
    assert not [named(path) for path in MODULES if name in (path.stem, path.parent.name)]


@pytest.mark.parametrize("what", FORBIDDEN)
def test_committed_files_hold_nothing_of_one_machine(what: str) -> None:
    found = []
    for path in committed():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        found += [f"{named(path)}:{n}" for n, line in enumerate(lines, 1) if FORBIDDEN[what].search(line)]
    assert not found, f"{what} in " + ", ".join(found)


def test_locked_requirements_are_hashed_and_exact() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        entries = path.read_text(encoding="utf-8").replace("\\\n", "").splitlines()
        pins = [entry for entry in entries if entry.strip() and not entry.lstrip().startswith("#")]
        assert pins
        for pin in pins:
            assert re.match(r"[\w.-]+==[^\s;]+( ; [^\\]+?)?\s+--hash=sha256:", pin), (
                f"{path.name}: {pin[:60]}"
            )
