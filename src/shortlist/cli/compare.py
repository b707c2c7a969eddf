"""`shortlist compare`: two bundles side by side on the same test rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shortlist.cli.console import Json, Quiet, examples, out, out_json, progress
from shortlist.cli.folders import bundle_folder, require_file, write_file
from shortlist.errors import RequestError

EXAMPLES = examples(
    "shortlist compare runs/yesterday runs/today",
    "shortlist compare runs/yesterday runs/today --events tomorrow.parquet",
    "shortlist compare runs/small runs/wide --recipe this-month.toml --json > difference.json",
    "shortlist compare runs/small runs/wide --html difference.html",
)


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A bundle, or a run that holds one.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
    recipe: Annotated[
        str, typer.Option(metavar="RECIPE", help="Judge on the test rows of this recipe, not of A's own.")
    ] = "",
    events: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Judge on these rows, such as what came since.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the comparison as a page that stands alone.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put two bundles side by side on the same test rows.

    Differences B - A come with 95 % intervals from resampling users; one is called better only where the
    interval excludes zero. Warnings tell of test rows that were trained on, and of items one does not know.
    The columns of --events are named as those of the recipe inside A, or as `shortlist events export` does;
    rows without a rating do not count in RMSE and MAE.
    """
    from shortlist.api.comparing import compare as judge

    if recipe and events is not None:
        raise RequestError("--recipe and --events both say what to judge on", hint="give one of them")
    require_file(html)
    folders = [bundle_folder(path) for path in (a, b)]
    names = (a.name, b.name) if a.name != b.name else (str(a), str(b))
    names = ("A", "B") if names[0] == names[1] else names
    with progress(quiet=quiet) as tell:
        tell("comparing", 0, 1)
        test = _split_of(recipe) if recipe else None if events is None else _events(events, folders[0])
        found = judge(folders[0], folders[1], test, names=names)
    if html is not None:
        write_file(html, found.to_html(f"{names[0]} and {names[1]}"), quiet=quiet)
    if json:
        out_json(found.to_dict())
    else:
        out(found.table())


def _split_of(name: str) -> Any:
    from shortlist.api.sources import read_data, split_data
    from shortlist.recipes.run import find_recipe

    recipe = find_recipe(name)
    return split_data(recipe, read_data(recipe))


def _events(path: Path, folder: Path) -> Any:
    from shortlist import bundle
    from shortlist.api.news import named_as
    from shortlist.specs.recipe import Recipe

    plain = bundle.inspect(folder)["provenance"].get("recipe")
    roles = None if plain is None else Recipe.from_dict(plain).data
    return named_as(roles, path)
