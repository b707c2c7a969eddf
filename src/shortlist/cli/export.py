"""`shortlist export`: a verified copy of a bundle, for serving or for passing on."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.answers import Bundle
from shortlist.cli.console import Force, Json, Quiet, examples, note, out, out_json
from shortlist.cli.folders import bundle_folder, require_free
from shortlist.errors import RequestError

if TYPE_CHECKING:
    from shortlist.specs.recipe import Recipe

EXAMPLES = examples(
    "shortlist export runs/demo -o export",
    "shortlist export runs/demo -o export --force",
    "shortlist export runs/demo -o export --serving --weights int8",
    "shortlist export runs/demo -o export --without-users",
    "shortlist export runs/demo -o savedmodel --format savedmodel",
)
SIGN = "manifest.json"
SIGNS = {"bundle": SIGN, "savedmodel": "saved_model.pb"}


class Format(StrEnum):
    """What is written."""

    bundle = "bundle"
    savedmodel = "savedmodel"


class Weights(StrEnum):
    """Of the tables in a bundle's graphs."""

    float32 = "float32"
    bf16 = "bf16"
    int8 = "int8"


def export(
    bundle: Bundle,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    force: Force = False,
    format: Annotated[
        Format,
        typer.Option(help="A bundle, or a TensorFlow SavedModel (extra tensorflow; needs train/)."),
    ] = Format.bundle,
    serving: Annotated[
        bool,
        typer.Option("--serving", help="Leave out train/: its rows, parameters and optimiser's state."),
    ] = False,
    weights: Annotated[
        Weights | None,
        typer.Option(help="Make tables smaller: two bytes a number, or one and a scale a row."),
    ] = None,
    recipe: Annotated[
        str,
        typer.Option(metavar="RECIPE", help="Measure what --weights loses on the data of another recipe."),
    ] = "",
    without_users: Annotated[
        bool,
        typer.Option("--without-users", help="Leave out all that is stored of users, and train/."),
    ] = False,
    part: Annotated[
        str, typer.Option(help="Of two stages trained apart, the one a SavedModel holds: retrieval, ranking.")
    ] = "",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a verified copy of a bundle, for serving.

    The folder appears whole or not at all; its path is printed. With --serving it answers just the same, but
    no later run can start from it (`shortlist train --from`). Items added to the bundle or removed from it
    since it was written are so in the copy (a SavedModel knows nothing of them). What --weights loses is
    measured on the test rows of the bundle's own recipe and stands in the manifest; where their data cannot
    be read, that does. --weights and --without-users write graphs anew, which takes the extra train.
    --without-users answers those who tell a history, where the model reads one; all
    others get popular items.
    """
    from shortlist.bundle.writing import require_outside

    folder = bundle_folder(bundle)
    require_free(output, force=force, sign=SIGNS[format])
    stated: dict[str, Any] = {}
    changes = 0
    require_outside(output.absolute())
    if format is Format.savedmodel:
        _require_alone("--format savedmodel", serving, weights, recipe, without_users)
        from shortlist.api.savedmodels import write_savedmodel

        write_savedmodel(folder, output, part=part)
        next_step = f'tf.saved_model.load("{output}")'
    else:
        _require_read(part, recipe, weights)
        from shortlist.api.exporting import export_bundle
        from shortlist.bundle.live import operations

        changes = operations(folder)
        stated = export_bundle(
            folder,
            output,
            serving=serving,
            weights=None if weights is None else weights.value,
            users=not without_users,
            held_out=_recipe(recipe),
        )
        next_step = f"shortlist recommend {output} --user ID"
    if json:
        out_json({"path": str(output), "weights": stated})
    else:
        out(str(output))
    for line in (*_changed(folder, changes), *_told(stated), *(_ids_kept(output) if without_users else ())):
        note(line, quiet=quiet)
    note(f"wrote {output}; next: {next_step}", quiet=quiet)


def _require_read(part: str, recipe: str, weights: Weights | None) -> None:
    """RequestError for what would be given for nothing."""
    if part:
        raise RequestError("--part is of a SavedModel", hint="give it with --format savedmodel")
    if recipe and weights is None:
        raise RequestError("--recipe is of --weights", hint="give it with --weights bf16 or int8")


def _changed(folder: Path, count: int) -> list[str]:
    """How much has become of the bundle since it was written."""
    what = f"{count:,} operation{'s' if count != 1 else ''}"
    return [f"the {what} of {folder / 'live'} became part of the copy"] if count else []


def _ids_kept(folder: Path) -> list[str]:
    """What a copy without users is, where its model reads their ids."""
    from shortlist import bundle as bundles

    if "user_id" not in bundles.inspect(folder)["schema"].get("query", {}):
        return []
    return [
        "the model reads user ids: without users it answers those who tell no history with popular items",
        "the ids training knew stay in the graphs: treat the copy as personal data",
    ]


def _require_alone(what: str, *others: object) -> None:
    if any(others):
        raise RequestError(
            f"{what} goes with none of --serving, --weights, --recipe and --without-users",
            hint="they are of bundles",
        )


def _recipe(name: str) -> Recipe | None:
    if not name:
        return None
    from shortlist.recipes.run import find_recipe  # reads tables, which no other copy needs

    return find_recipe(name)


def _told(stated: dict[str, Any]) -> list[str]:
    """What became of the weights, a line each."""
    if not stated:
        return []
    share = stated["bytes"] / max(1, stated["float32_bytes"])
    lines = [f"tables in {stated['type']}: {stated['bytes']:,} bytes, {share:.0%} of what they were"]
    if "not_measured" in stated:
        return [*lines, f"what that loses was not measured: {stated['not_measured']}"]
    for name, found in stated["metrics"].items():
        between = f"{found['low']:+.5f} to {found['high']:+.5f}" if found["low"] is not None else "unknown"
        lines.append(f"{name}: {found['before']:.4f} before, {found['after']:.4f} after ({between})")
    return [*lines, *stated.get("warnings", [])]
