"""The public names: pinned, so that none comes or goes unnoticed, and each resolved only when asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import shortlist

PUBLIC: list[str] = [
    "Adagrad",
    "Adam",
    "Affinity",
    "Aggregate",
    "Bag",
    "Bucket",
    "Category",
    "Context",
    "Custom",
    "Cyclic",
    "Dataset",
    "Explanation",
    "Fitted",
    "History",
    "Id",
    "Live",
    "MultiTask",
    "Normalize",
    "Process",
    "Ranker",
    "Rating",
    "Recipe",
    "Recommender",
    "Retrieval",
    "ShortlistError",
    "Slate",
    "Split",
    "Stored",
    "Tags",
    "Text",
    "Tower",
    "Training",
    "TwoTower",
    "Utility",
    "Vector",
    "__version__",
    "combine",
    "compare",
    "datasets",
    "encode",
    "evaluate",
    "export_bundle",
    "fit",
    "infer",
    "load",
    "open_live",
    "recommend_all",
    "register_task",
    "register_tower",
    "similar_all",
    "splits",
    "warm_start",
    "write_savedmodel",
    "tune",
]


def test_the_public_names_are_pinned() -> None:
    assert sorted(shortlist.__all__) == sorted(PUBLIC)
    assert len(set(shortlist.__all__)) == len(shortlist.__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(shortlist, name) is not None
    assert name in dir(shortlist)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = shortlist.no_such_name  # type: ignore[attr-defined]


def test_names_resolve_only_when_asked_for() -> None:
    code = (
        "import sys, shortlist\n"
        "print(*sorted(name for name in sys.modules if name.startswith('shortlist.')), sep='\\n')\n"
        "from shortlist import *\n"
        "missing = [name for name in shortlist.__all__ if name not in globals()]\n"
        "assert not missing, missing\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [], "importing the package loads parts of it"
