"""`shortlist evaluate`: a bundle is judged again on the test rows of its own split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shortlist.cli.console import Json, Quiet, examples, out, out_json, progress
from shortlist.cli.folders import bundle_folder, require_file, write_file

if TYPE_CHECKING:
    from shortlist.specs.recipe import Recipe

EXAMPLES = examples(
    "shortlist evaluate runs/demo",
    "shortlist evaluate runs/demo --no-baselines --json > figures.json",
    "shortlist evaluate runs/demo --html report.html",
    "shortlist evaluate runs/demo --recipe this-month.toml",
)


def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A bundle, or a run that holds one.")],
    recipe: Annotated[
        str, typer.Option(metavar="RECIPE", help="Judge on the data and split of another recipe.")
    ] = "",
    html: Annotated[Path | None, typer.Option(help="Write the report as a page that stands alone.")] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Judge tuned baselines on the same rows.")
    ] = True,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge a bundle on its own test rows, beside baselines.

    The data and the split are those of the recipe inside the bundle, or of --recipe, whose tables must
    then have the columns and items that the bundle knows.
    """
    from shortlist.api.evaluating import evaluate_bundle

    require_file(html)
    folder = bundle_folder(bundle)
    with progress(quiet=quiet) as tell:
        report = evaluate_bundle(folder, recipe=_recipe(recipe), baselines=baselines, tell=tell)
    if html is not None:
        write_file(html, report.to_html(f"Evaluation of {bundle}"), quiet=quiet)
    if json:
        out_json(report.to_dict())
    else:
        out(report.table())


def _recipe(name: str) -> Recipe | None:
    from shortlist.recipes.run import find_recipe

    return find_recipe(name) if name else None
