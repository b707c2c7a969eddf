"""`shortlist train --from`: a run that goes on from an earlier run's bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shortlist.cli.console import USAGE, fail, note, out, out_json, progress
from shortlist.cli.folders import bundle_folder, new_folder
from shortlist.errors import RecipeError

SIGN = "recipe.toml"
Start = Annotated[
    Path | None,
    typer.Option("--from", metavar="BUNDLE", help="Go on from this bundle, with new events."),
]
Replay = Annotated[
    float | None,
    typer.Option(min=0, help="With --from: earlier rows to learn from again, for each new one."),
]
Rate = Annotated[float | None, typer.Option(min=0, help="With --from: learning rate over the earlier run's.")]
HoldOut = Annotated[
    float,
    typer.Option(
        min=0, max=0.9, help="With --from: latest share of the events, to compare on and not to learn from."
    ),
]


def go_on(
    start: Path,
    events: str,
    output: Path | None,
    options: dict[str, Any],
    *,
    force: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Go on from a bundle with a table of new events; options: as `warm_run` takes them, None left out."""
    from shortlist.recipes.warm_run import warm_run

    if output is None:
        raise RecipeError("--from needs a folder for the new run", hint="-o runs/today")
    folder = bundle_folder(start)
    given = {name: value for name, value in options.items() if value is not None}
    with new_folder(output, force=force, sign=SIGN) as fresh, progress(quiet=quiet) as tell:
        done = warm_run(folder, Path(events), tell=tell, **given)
        tell("writing the bundle", 0, 1)
        done.write(fresh)
    for said in done.fitted.notes:
        note(said, quiet=quiet)
    if done.comparison is None:
        note("nothing was judged on later rows: --hold-out 0.2 judges on the latest events", quiet=quiet)
    if json:
        compared = None if done.comparison is None else done.comparison.to_dict()
        found = {"output": str(output), "news": list(done.fitted.notes), "seconds": done.fitted.seconds}
        out_json({**found, "comparison": compared})
    else:
        out(str(output) if done.comparison is None else done.comparison.table())
    replaced = start.resolve() == output.resolve()
    later = (
        f"shortlist recommend {output} --user ID"
        if replaced
        else f"shortlist compare {start} {output} --events FILE"
    )
    note(f"wrote {output}; next: {later}", quiet=quiet)


def refuse_with_start(**given: Any) -> None:
    """RecipeError for options of `train` that mean nothing where a run goes on from another."""
    for name, value in given.items():
        if value:
            raise RecipeError(
                f"--{name.replace('_', '-')} cannot be given with --from: the recipe is that of the bundle",
                hint="with --from: --items, --users, --epochs, --seed, --replay, --rate, --hold-out, --set",
            )


def require_sense(recipe: str, start: Path | None, **given: Any) -> None:
    """Leave where the argument of `train` is missing, which with --from is a table; RecipeError for options
    given that mean something only where a run goes on from another."""
    if not recipe and start is None:
        fail("train needs a RECIPE", "a TOML file or a shipped recipe: shortlist train ml100k-ids")
    elif not recipe:
        words = f"shortlist train --from {start} new_events.parquet -o runs/today"
        fail("with --from, train needs the table of new events", words)
    if not recipe:
        raise typer.Exit(USAGE)
    for name, value in given.items():
        if start is None and value is not None:
            raise RecipeError(
                f"--{name.replace('_', '-')} is of --from, which is not given",
                hint="name the bundle to go on from (--from runs/yesterday), or leave the option out",
            )
