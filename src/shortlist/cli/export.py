"""`shortlist export`: a verified copy of a bundle, for serving or for passing on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shortlist.cli.answers import Bundle, load
from shortlist.cli.console import Force, Quiet, examples, note, out
from shortlist.cli.folders import require_free

EXAMPLES = examples("shortlist export runs/demo -o export", "shortlist export runs/demo -o export --force")
SIGN = "manifest.json"


def export(
    bundle: Bundle,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a verified copy of a bundle, for serving.

    The folder appears whole or not at all; its path is printed.
    """
    require_free(output, force=force, sign=SIGN)
    load(bundle).save(output)
    out(str(output))
    note(f"wrote {output}; next: shortlist recommend {output} --user ID", quiet=quiet)
