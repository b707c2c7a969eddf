"""The guide of trackers shows its examples as they are. That they work is `make test-examples`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("log_to_*.py"))


def test_the_guide_shows_every_example_to_the_letter() -> None:
    page = (ROOT / "docs" / "guides" / "trackers.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert sorted(shown) == sorted(path.read_text(encoding="utf-8") for path in EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_are_short_and_hide_no_package(path: Path) -> None:
    """A file named after the package it imports would import itself."""
    text = path.read_text(encoding="utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) <= 20
    tree = list(ast.walk(ast.parse(text)))
    imported = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in tree if isinstance(node, ast.ImportFrom) and node.module}
    assert path.stem not in imported and "shortlist" in imported
