"""`shortlist tune`: the ranges a recipe declares are searched for the best validation figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.console import INTERRUPTED, Force, Json, Quiet, examples, note, out, out_json, progress
from shortlist.errors import RecipeError

EXAMPLES = examples(
    "shortlist tune my-shop.toml",
    "shortlist tune my-shop.toml --trials 200 --minutes 120 --study runs/search --resume",
    "shortlist tune my-shop.toml --jobs 2 -o best.toml",
)


def tune(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A TOML file whose [tune] declares ranges.")
    ],
    trials: Annotated[
        int | None, typer.Option(min=1, help="Of the study in all.", show_default="the recipe's, else 50")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Of this invocation.", show_default="the recipe's, else 30")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trials side by side.")] = 1,
    study: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The study's folder.", show_default="runs/NAME-study"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the study in that folder.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the best recipe here too.")
    ] = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search a recipe's ranges for the best validation figure.

    Ranges are declared under [tune]. The search ends after so many trials or minutes, whichever comes first,
    or by Ctrl-C, and is judged on validation rows alone. The study's folder keeps every trial, so that
    --resume goes on after a kill, and in the end holds tuning.{txt,json,html} and best.toml, a recipe for
    `shortlist train`. --force replaces the file of --output. Needs the extra `tune`.
    """
    from shortlist.recipes.run import find_outline
    from shortlist.recipes.tuning import BEST
    from shortlist.recipes.tuning import tune as search

    found = find_outline(recipe)
    folder = study or Path("runs") / f"{found.name or Path(recipe).stem}-study"
    if output is not None and output.exists() and not force:
        raise RecipeError(f"{output} exists already", hint="give another file, or --force to replace it")
    with progress(quiet=quiet) as tell:
        tuned = search(
            found,
            trials=trials,
            minutes=minutes,
            jobs=jobs,
            study=folder,
            resume=resume,
            output=output,
            tell=tell,
        )
    if json:
        out_json(tuned.to_dict())
    else:
        out(tuned.table())
    best = output or folder / BEST
    note(f"wrote {folder}; next: shortlist train {best}", quiet=quiet)
    if tuned.stopped == "interrupted":
        note(f"interrupted; shortlist tune {recipe} --study {folder} --resume goes on", quiet=quiet)
        raise typer.Exit(INTERRUPTED)
