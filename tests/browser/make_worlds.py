"""Bundles for the explorer's tests: one with all there are controls for, another beside it, a large one, one
whose ids and names are of any characters, and one of nothing but ids.

python tests/browser/make_worlds.py FOLDER, with the Python of the package; what stands in FOLDER is kept.
"""

from __future__ import annotations

import csv
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copy

HERE = Path(__file__).parent
COUNT = 1_000_000
"""Items of the large catalogue."""
LONG = "A title that goes on, as those of documentaries do: and a subtitle that is longer still (1991)"
NAMES = {
    "a/b": LONG,
    "?q=1&x": "Rather? & #so",
    "#hash": "",
    "100%": "100%",
    "sp ace": "Two  spaces",
    "שלום": "שלום לכולם: סרט ארוך (1994)",
    "مرحبا": "مرحبا بالعالم (1997)",
    "quote\"s'": 'It\'s "quoted" \\ escaped',
    "<b>bold</b>": "<i>Not italic</i>",
    "x" * 120: "Unbroken" * 25,
    "e\u0301": "Étude",
    "%2F": "%2F",
    "null": "null",
    "0": "0",
}
"""Titles of items with ids that are hard to carry."""
USERS = ["u/1", "?user=2", "#three", "user four", "חמש", "%256", "u" * 120]


def main(folder: Path) -> None:
    """Make what is missing."""
    tables = write_tables(folder / "tables")
    own = [(folder / name, str(tables / f"{name}.toml"), ()) for name in ("odd", "bare")]
    of_films = [
        (folder / "histories", str(HERE / "histories.toml"), ()),
        (folder / "ids", "ml100k-ids", ("--epochs", "3", "--set", "evaluation.baselines=false")),
    ]
    with ThreadPoolExecutor(2) as both:
        list(both.map(lambda one: train(*one), [*of_films, *own]))
    if not (folder / "large").exists():
        grow(folder / "histories" / "bundle", folder / "large")


def train(output: Path, recipe: str, options: tuple[str, ...]) -> None:
    """A run, unless it is there."""
    if (output / "bundle" / "manifest.json").exists():
        return
    program = [sys.executable, "-c", "from shortlist.cli import main; main()"]
    words = ["train", recipe, "--output", str(output), "--force", "--quiet", *options]
    subprocess.run([*program, *words], check=True, stdout=subprocess.DEVNULL)


def write_tables(folder: Path) -> Path:
    """Tables of ids and titles of any characters, beside the recipes that read them."""
    folder.mkdir(parents=True, exist_ok=True)
    choose = random.Random(7)
    items = [*NAMES, *(f"i{n}" for n in range(40))]
    users = [*USERS, *(f"u{n}" for n in range(40))]
    genres = ["Drama", "דרמה", 'O\'Brien, or "so"', "Sci-Fi & Fantasy"]
    pairs = [(user, item) for user in users for item in choose.sample(items, 12)]
    columns = [
        (item, NAMES.get(item, f"Film {item}"), choose.choice(genres), "" if n % 7 == 0 else n + 0.25)
        for n, item in enumerate(items)
    ]
    start = 1_600_000_000
    rated = [(*pair, choose.randint(1, 5), start + 5_000 * n) for n, pair in enumerate(pairs)]
    tables = {
        "items.csv": [("item_id", "title", "genre", "list price"), *columns],
        "ratings.csv": [("user_id", "item_id", "rating", "timestamp"), *rated],
        "events.csv": [("user_id", "item_id"), *pairs],
    }
    for name, rows in tables.items():
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    for name in ("odd", "bare"):
        copy(HERE / f"{name}.toml", folder)
    return folder


def grow(source: Path, target: Path) -> None:
    """A bundle with items that nobody ever had, until there are a million."""
    import numpy as np

    import shortlist as sl

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
