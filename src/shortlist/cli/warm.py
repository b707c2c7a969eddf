"""`shortlist train --from`: a run that goes on from an earlier run's bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from shortlist.cli.console import note, out, out_json, progress
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
