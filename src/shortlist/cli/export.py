"""`shortlist export`: a verified copy of a bundle, for serving or for passing on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.answers import Bundle
from shortlist.cli.console import Force, Quiet, examples, note, out
from shortlist.cli.folders import bundle_folder, require_free

EXAMPLES = examples(
    "shortlist export runs/demo -o export",
    "shortlist export runs/demo -o export --force",
    "shortlist export runs/demo -o export --serving",
)
SIGN = "manifest.json"


def export(
    bundle: Bundle,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    force: Force = False,
    serving: Annotated[
        bool,
        typer.Option("--serving", help="Leave out train/: its rows, parameters and optimiser's state."),
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Write a verified copy of a bundle, for serving.

    The folder appears whole or not at all; its path is printed. With --serving it answers just the same, but
    no later run can start from it (`shortlist train --from`).
    """
    from shortlist.bundle import copy

    require_free(output, force=force, sign=SIGN)
    copy(bundle_folder(bundle), output, serving=serving)
    out(str(output))
    note(f"wrote {output}; next: shortlist recommend {output} --user ID", quiet=quiet)
