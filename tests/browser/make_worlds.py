"""Bundles for the explorer's tests: one with all there are controls for, another beside it, a large one.

python tests/browser/make_worlds.py FOLDER, with the Python of the package; what stands in FOLDER is kept.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

import shortlist as sl

HERE = Path(__file__).parent
COUNT = 1_000_000
"""Items of the large catalogue."""


def main(folder: Path) -> None:
    """Make what is missing."""
    train(folder / "histories", str(HERE / "histories.toml"))
    train(folder / "ids", "ml100k-ids", "--epochs", "3", "--set", "evaluation.baselines=false")
    if not (folder / "large").exists():
        grow(folder / "histories" / "bundle", folder / "large")


def train(output: Path, recipe: str, *options: str) -> None:
    """A run, unless it is there."""
    if (output / "bundle" / "manifest.json").exists():
        return
    program = [sys.executable, "-c", "from shortlist.cli import main; main()"]
    words = ["train", recipe, "--output", str(output), "--force", "--quiet", *options]
    subprocess.run([*program, *words], check=True, stdout=subprocess.DEVNULL)


def grow(source: Path, target: Path) -> None:
    """A bundle with items that nobody ever had, until there are a million."""
    small = sl.load(source)
    many = COUNT - len(small.items)
    random = np.random.default_rng(42)
    years = random.integers(1920, 1999, many)
    genres = np.array(["Drama", "Comedy", "Action", "Thriller", "Romance"], object)
    table = {
        "item_id": [f"made-{n}" for n in range(many)],
        "title": [f"Made film {n} ({year})" for n, year in enumerate(years.tolist())],
        "year": years.tolist(),
        "genres": [[genre] for genre in genres[random.integers(0, len(genres), many)]],
    }
    small.add_items(table).save(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
