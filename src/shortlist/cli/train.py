"""`shortlist train`: a recipe becomes a run folder with a report and a bundle."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.console import Force, Json, Quiet, examples, note, out, out_json, progress, table
from shortlist.cli.warm import (
    HoldOut,
    Rate,
    Replay,
    Start,
    go_on,
    refuse_with_start,
    require_sense,
)
from shortlist.data.spans import span
from shortlist.errors import RecipeError

if TYPE_CHECKING:
    from shortlist.specs.recipe import Outline, Recipe

Named = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A TOML file, or the name of a recipe that is shipped; with --from a table of new events.",
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe.")
]

EXAMPLES = examples(
    "shortlist train ml100k-ids",
    "shortlist train my-shop.toml -o runs/first --epochs 4",
    "shortlist train two-stage --interactions events.parquet --items items.parquet",
    "shortlist train retrieval --interactions events.csv --show",
    "shortlist train my-shop.toml --estimate",
    "shortlist train --from runs/yesterday new_events.parquet -o runs/today",
    "shortlist train ml100k-ids -o runs/wide --set training.batch_size=2000 --set serving.retrieve=200",
)


def train(
    recipe: Named = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The run's folder.", show_default="runs/NAME, the recipe's own"),
    ] = None,
    force: Force = False,
    seed: Annotated[int | None, typer.Option(help="Of training (the split keeps the recipe's own).")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training rows.")] = None,
    set_: Settings = None,
    interactions: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of what people did, in place of the recipe's data.")
    ] = None,
    items: Annotated[Path | None, typer.Option(metavar="FILE", help="Of items, one row each.")] = None,
    users: Annotated[Path | None, typer.Option(metavar="FILE", help="Of users, one row each.")] = None,
    rating: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of the ratings.")] = None,
    timestamp: Annotated[str | None, typer.Option(metavar="COLUMN", help="Of the times.")] = None,
    start: Start = None,
    replay: Replay = None,
    rate: Rate = None,
    hold_out: HoldOut = 0.0,
    all_rows: Annotated[
        bool,
        typer.Option("--all-rows", help="Once judged, fit again on all rows, test rows too, and keep that."),
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Only print the recipe that would be run, and why.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only say what memory and time the run would take.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train, evaluate and save: RECIPE becomes a run folder.

    A run that cannot fit into memory is refused at its start, with the arithmetic; --estimate only tells
    that, and the time. The folder holds the recipe as it was run, metrics.jsonl, report.{json,html,txt} and
    the bundle, which the other verbs read. The report goes to stdout. The recipes rating, retrieval and
    two-stage infer features, sizes and regularisation from the tables they are given; the user's and the
    item's columns are user_id and item_id, or --set data.user=COLUMN.

    With --from BUNDLE the run goes on from that bundle: the argument is a table of new events (--items and
    --users: of new ones), columns are named as in the bundle's recipe or as `shortlist events export` names
    them, events it knows are left out. Ids get rows of their own; 4 passes over the new events, and four old
    ones for each, unless --epochs and --replay say otherwise. The folder holds the bundle
    and, with --hold-out, a comparison on the latest events, not learned. --set: keys of [data].
    """
    require_sense(recipe, start, replay=replay, rate=rate, hold_out=hold_out or None)
    if start is not None:
        refuse_with_start(interactions=interactions, rating=rating, timestamp=timestamp, show=show)
        refuse_with_start(estimate=estimate, all_rows=all_rows)
        options: dict[str, Any] = {"items": items, "users": users, "epochs": epochs, "seed": seed}
        options |= {"replay": replay, "rate": rate, "hold_out": hold_out, "settings": _pairs(set_)}
        go_on(start, recipe, output, options, force=force, json=json, quiet=quiet)
        return
    from shortlist.recipes.run import find_outline, resolve, run
    from shortlist.specs.keys import changed
    from shortlist.specs.recipe import Outline

    tables = {"interactions": interactions, "items": items, "users": users}
    columns = {"rating": rating, "timestamp": timestamp}
    given = {f"data.{key}": str(value) for key, value in (tables | columns).items() if value is not None}
    settings = given | ({"serving.all_rows": True} if all_rows else {})
    found = changed(find_outline(recipe), settings | _settings(seed, epochs, set_ or []))
    if show:
        _show(found, json=json)
        return
    if estimate:
        _estimate(resolve(found).recipe if isinstance(found, Outline) else found, json=json, quiet=quiet)
        return
    folder = output or Path("runs") / (found.name or Path(recipe).stem)
    with progress(quiet=quiet) as tell:
        result = run(found, folder, force=force, tell=tell)
    if json:
        out_json({"output": str(result.output), "seconds": result.seconds, **result.report.to_dict()})
    else:
        out(result.report.table())
    for said in (*result.notes, f"wrote {folder}; next: shortlist recommend {folder} --user ID"):
        note(said, quiet=quiet)


def _show(recipe: Recipe | Outline, *, json: bool) -> None:
    """Print the recipe as it would be run, after the reasons for what was inferred, as comments."""
    from shortlist.recipes.run import resolve

    resolved = resolve(recipe)
    if json:
        out_json({"recipe": resolved.recipe.to_dict(), "reasons": list(resolved.reasons)})
    else:
        out("".join(f"# {reason}\n" for reason in resolved.reasons) + resolved.recipe.to_toml())


def _estimate(recipe: Recipe, *, json: bool, quiet: bool) -> None:
    """Print what the run would take; end as `train` would where it does not fit."""
    from shortlist.recipes.estimating import estimate
    from shortlist.recipes.memory import said

    with progress(quiet=quiet) as tell:
        found = estimate(recipe, tell=tell)
    if json:
        out_json(found.to_dict())
    else:
        memory, highest = found.memory, found.memory.highest
        parts = [[part.what, said(part.nbytes), part.how] for part in highest.parts]
        parts.append(["in all", said(highest.nbytes), f"of {said(memory.available)}: {memory.limit}"])
        stages = ", ".join(f"{stage.name} {said(stage.nbytes)}" for stage in memory.stages)
        out(f"Memory at its height, in the stage {highest.name} ({stages})\n")
        out(table(["what", "memory", "how"], parts))
        if found.seconds is not None:
            times = [[part.what, span(part.seconds), part.how] for part in found.times]
            out("\nTime\n")
            out(table(["what", "time", "how"], [*times, ["in all", span(found.seconds), ""]]))
    found.memory.require()


def _settings(seed: int | None, epochs: int | None, pairs: list[str]) -> dict[str, Any]:
    named = {"training.seed": seed, "training.epochs": epochs}
    return _pairs(pairs) | {key: value for key, value in named.items() if value is not None}


def _pairs(pairs: list[str] | None) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {pair!r} is not KEY=VALUE", hint="for instance --set training.epochs=4")
        settings[key.strip()] = toml_value(value.strip())
    return settings


def toml_value(text: str) -> Any:
    """The value as TOML reads it (4, 0.1, true, [10, 100], {kind = "adam"}); a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
