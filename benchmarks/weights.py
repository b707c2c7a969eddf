"""What smaller tables save and lose: `python benchmarks/weights.py RUN ...` writes `results/weights.json`.

Each run's bundle is exported for serving with every type of weights; losses are those its manifest then
states, on the test rows of the run's own recipe.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from results import write_atomic

TYPES = (None, "bf16", "int8")


def weights(run: Path, place: Path) -> list[dict[str, Any]]:
    """One entry a type: bytes of the tables and of the whole bundle, and the figures before and after."""
    from shortlist.api.exporting import export_bundle
    from shortlist.bundle import inspect

    found = []
    for kind in TYPES:
        folder = place / f"{run.name}-{kind}"
        stated = export_bundle(run, folder, serving=True, weights=kind)  # type: ignore[arg-type]
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        name = inspect(run)["provenance"]["recipe"]["name"]
        found.append({"recipe": name, "weights": kind or "float32", "bundle_bytes": size, **stated})
    plain = next(entry for entry in found if "float32_bytes" in entry)
    found[0] |= {"bytes": plain["float32_bytes"], "rows": plain["rows"]}
    return found


def main() -> None:
    """Export what is asked for and write."""
    with tempfile.TemporaryDirectory() as place:
        entries = [entry for run in sys.argv[1:] for entry in weights(Path(run), Path(place))]
    target = Path(__file__).resolve().parent / "results" / "weights.json"
    write_atomic(target, json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
