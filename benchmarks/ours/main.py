"""Our side of the small benchmarks: `main.py MEASUREMENT ...`, one JSON line each."""

from __future__ import annotations

import importlib
import sys

# measurement -> the module of this folder that has it, under the same name with underscores
MODULES = {
    "ranker": "ranker",
    "softmax-catalogue": "softmax",
    "softmax-distinct": "softmax",
    "softmax-sizes": "softmax",
    "tables": "tables",
    "tables-growth": "tables",
    "tables-choice": "tables",
    "tables-better": "tables",
    "evaluate": "evaluation",
    "evaluate-bundle": "evaluation",
    "evaluate-million": "evaluation",
    "encode": "encode",
    "encode-whole": "encode",
    "out-of-core": "streaming",
    "in-core": "streaming",
    "ann-million": "nearest",
    "bulk": "bulk",
    "bulk-loop": "bulk",
    "start": "serving",
    "score-savedmodel": "serving",
}


def main() -> None:
    """Run the measurements named, in turn."""
    for name in sys.argv[1:]:
        getattr(importlib.import_module(MODULES[name]), name.replace("-", "_"))()


if __name__ == "__main__":
    main()
