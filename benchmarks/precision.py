"""Figures of the tutorials' experiments with products in bfloat16 beside float32: `precision.py`.

Writes `results/precision.json`. Not a matter of speed: on a CPU rounded factors gain none.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from shortlist.recipes.tutorials import as_printed

RESULTS = Path(__file__).parent / "results" / "precision.json"


def main() -> None:
    """Both forms of all six, one line an experiment."""
    forms = ("float32", "bfloat16")
    found = {form: {name: figures for name, figures, _ in as_printed(precision=form)} for form in forms}
    rows = [{"experiment": name, **{form: found[form][name] for form in forms}} for name in found["float32"]]
    RESULTS.write_text(msgspec.json.format(json.dumps(rows), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
