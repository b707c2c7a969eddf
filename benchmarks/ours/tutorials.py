"""The tutorials' six experiments in one process of ours: `tutorials.py [EXPERIMENT ...]`, all by default.

Each is fitted as the tutorial prints it and judged on its test rows by the tutorial's own figures.
"""

from __future__ import annotations

import sys

from clock import emit

from shortlist.recipes.tutorials import as_printed


def main() -> None:
    """Fit and judge, one line an experiment; its seconds are shared with the one that runs beside it."""
    for name, figures, fitted in as_printed(tuple(sys.argv[1:])):
        seconds = fitted.seconds
        emit(name, seconds["compile"] + seconds["fit"], **seconds, figures=figures)


if __name__ == "__main__":
    main()
