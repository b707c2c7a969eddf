"""The bundles that bulk answers are measured with: recipes of MovieLens 100K, trained by today's code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from environments import python_of, variables

RECIPES = {"joint": "ml100k-ids", "history": "ml100k-retrieval"}
_TRAIN = "from shortlist.cli import main; main()"


def write_bulk(folder: Path) -> None:
    """Train each recipe and leave its run's folder in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, recipe in RECIPES.items():
        print(f"training {recipe} ...", file=sys.stderr, flush=True)
        words = ["train", recipe, "-o", str(folder / name), "--force", "--quiet"]
        subprocess.run(
            [str(python_of("project")), "-c", _TRAIN, *words],
            check=True,
            env=variables("project"),
            stdout=subprocess.DEVNULL,
        )
