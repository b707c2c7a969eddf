"""Imports go one way, the serving column never reaches JAX, and the facade costs nothing heavy."""

from __future__ import annotations

import ast
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"

CHAIN = """
    errors, _typing < specs < data < features < state < {index | baselines | models} < {pipeline | tasks}
    < {evaluation | bundle | training} < {server | export} < api < recipes < cli
"""
LEARNING = {"models", "tasks", "training", "export"}
MEETING = {"api", "recipes", "cli"}  # their functions, and nothing else of them, call the learning column
# Modules of the meeting parts that exist to train: nothing else may import them when it is itself imported.
TRAINS = {
    "shortlist.api.fitting",
    "shortlist.api.keeping",
    "shortlist.api.news",
    "shortlist.api.warming",
    "shortlist.api.recommending",
    "shortlist.api.savedmodels",
    "shortlist.recipes.accuracy",
    "shortlist.recipes.arrivals",
    "shortlist.recipes.measures",
    "shortlist.recipes.estimating",
    "shortlist.recipes.memory",
    "shortlist.recipes.run",
    "shortlist.recipes.tuning",
    "shortlist.recipes.tutorials",
    "shortlist.recipes.warm_run",
    "shortlist.recipes.warm_start",
    "shortlist.recipes.visitors",
}
LEARNING_LIBRARIES = {"jax", "jaxlib", "jaxtyping", "equinox", "optax"}
NO_TABLES = {"errors", "_typing", "specs", "state", "index", "pipeline", "bundle", "server"}
HEAVY = {"jax", "polars", "onnxruntime", "onnx", "scipy", "implicit", "pandas", "pyarrow"}


@dataclass(frozen=True)
class Import:
    importer: str  # dotted module
    line: int
    target: str  # a module of ours where there is one, else the dotted name as written
    where: str  # "module", "function" or "typing"

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.target} ({self.where})"


def part(module: str) -> str:
    """The first name below `shortlist`: the unit the chain speaks of; "" for the facade itself."""
    return module.split(".")[1] if "." in module else ""


def levels() -> dict[str, tuple[int, str]]:
    """part -> (level in the chain, group): parts of one level are strangers unless they share a group."""
    placed = {}
    for level, text in enumerate(CHAIN.split("<")):
        strangers = "{" in text
        for name in re.findall(r"\w+", text):
            placed[name] = (level, name if strangers else str(level))
    return placed


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(SOURCE.glob("shortlist/**/*.py")):
        names = path.relative_to(SOURCE).with_suffix("").parts
        found[".".join(names[:-1] if names[-1] == "__init__" else names)] = path
    return found


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def statements(node: ast.AST, where: str = "module") -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, where
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(child, "function" if where == "module" else where)
        elif isinstance(child, ast.If) and is_type_checking(child.test):
            for inner in child.body:
                yield from statements(ast.Module([inner], []), "typing")
            for inner in child.orelse:
                yield from statements(ast.Module([inner], []), where)
        else:
            yield from statements(child, where)


def absolute(node: ast.ImportFrom, module: str, path: Path) -> str:
    if not node.level:
        return node.module or ""
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


@cache
def imports() -> tuple[Import, ...]:
    found = []
    for module, path in modules().items():
        for node, where in statements(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            else:
                source = absolute(node, module, path)
                named = [f"{source}.{alias.name}" for alias in node.names]
                targets = [name if name in modules() or source == "shortlist" else source for name in named]
            found += [Import(module, node.lineno, target, where) for target in dict.fromkeys(targets)]
    return tuple(found)


def ours(target: str) -> bool:
    return target == "shortlist" or target.startswith("shortlist.")


def reached(start: str) -> set[str]:
    """Everything that importing `start` loads: by module-level imports, packages on the way included."""
    edges: dict[str, set[str]] = {}
    for found in imports():
        if found.where == "module":
            edges.setdefault(found.importer, set()).add(found.target)
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if ours(name):
            parents = name.split(".")
            waiting += [".".join(parents[:n]) for n in range(1, len(parents))]
            waiting += edges.get(name, ())
    return seen


def libraries(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names if not ours(name)}


def test_every_module_has_a_place_in_the_chain() -> None:
    strangers = {module for module in modules() if part(module) and part(module) not in levels()}
    assert not strangers, "not named in DESIGN's chain: " + ", ".join(sorted(strangers))


def test_imports_go_one_way() -> None:
    placed, wrong = levels(), []
    for found in imports():
        own, other = part(found.importer), part(found.target)
        if not ours(found.target) or not own or own == other or own not in placed or other not in placed:
            continue
        (level, group), (other_level, other_group) = placed[own], placed[other]
        if other_level > level or (other_level == level and group != other_group):
            wrong.append(str(found))
    assert not wrong, "against the direction of imports:\n" + "\n".join(wrong)


def test_no_module_goes_through_the_facade() -> None:
    """The facade would hide which part is meant; its version is the one thing it may be asked for."""
    wrong = [
        str(found)
        for found in imports()
        if part(found.importer)
        and ours(found.target)
        and found.target not in modules().keys() - {"shortlist"}
        and found.target != "shortlist.__version__"
    ]
    assert not wrong, "import the module itself:\n" + "\n".join(wrong)


def test_modules_form_no_cycle() -> None:
    edges: dict[str, set[str]] = {module: set() for module in modules()}
    for found in imports():
        if found.where == "module" and found.target in edges:
            edges[found.importer].add(found.target)
    while leaves := [module for module, targets in edges.items() if not targets & edges.keys()]:
        for leaf in leaves:
            del edges[leaf]
    assert not edges, "cycles run through: " + ", ".join(sorted(edges))


def test_only_the_learning_column_imports_jax() -> None:
    wrong = []
    for found in imports():
        own = part(found.importer)
        learns = found.target.split(".")[0] in LEARNING_LIBRARIES or (
            ours(found.target) and part(found.target) in LEARNING
        )
        learns = learns or found.target in TRAINS
        if not learns or own in LEARNING or found.importer in TRAINS:
            continue
        if own in MEETING | {""} and found.where != "module":
            continue
        wrong.append(str(found))
    assert not wrong, "the serving column reaches the learning column:\n" + "\n".join(wrong)


def test_importing_a_serving_module_loads_no_jax() -> None:
    for module in modules():
        if part(module) not in LEARNING and module not in TRAINS:
            assert not libraries(reached(module)) & LEARNING_LIBRARIES, module


def test_a_bundle_and_onnx_are_enough_to_compose_its_graph() -> None:
    assert not libraries(reached("shortlist.export.recommending")) & LEARNING_LIBRARIES


@pytest.mark.parametrize("name", sorted(NO_TABLES))
def test_a_bundle_is_loaded_without_polars(name: str) -> None:
    for module in modules():
        if part(module) == name:
            heavy = libraries(reached(module)) & {"polars", "pandas", "pyarrow"}
            assert not heavy, f"importing {module} loads {heavy}"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


LOADED = f"print(*sorted(set({sorted(HEAVY)}) & sys.modules.keys()), file=sys.stderr)"
HELP = "from shortlist.cli import main; main()"


def test_the_facade_loads_nothing_heavy() -> None:
    done = run(f"import sys, shortlist\n{LOADED}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == []


def test_help_loads_nothing_heavy() -> None:
    code = f"import sys\nsys.argv = ['shortlist', '--help']\ntry:\n    {HELP}\nexcept SystemExit as stop:\n"
    done = run(f"{code}    assert not stop.code, stop.code\n{LOADED}")
    assert done.returncode == 0, done.stderr
    assert "recommend" in done.stdout, "--help lists the verbs"
    assert done.stderr.split() == [], "--help loads heavy libraries"


def test_help_answers_in_half_a_second_of_cpu() -> None:
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = run(f"import sys; sys.argv = ['shortlist', '--help']; {HELP}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == 0, done.stderr
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(seconds) < 0.5, f"shortlist --help takes {min(seconds):.2f} s of CPU"
