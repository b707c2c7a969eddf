"""Prints the requirements of the package with some extras; those naming the package itself are resolved."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def flatten(requirements: list[str], project: dict[str, Any]) -> Iterator[str]:
    """Yields requirements, each `name[extra, ...]` of the project's own replaced by what it stands for."""
    own = re.compile(rf"{re.escape(project['name'])}\[([^\]]+)\]")
    for requirement in requirements:
        match = own.fullmatch(requirement.strip())
        if match is None:
            yield requirement
            continue
        for extra in match[1].split(","):
            yield from flatten(project["optional-dependencies"][extra.strip()], project)


def main(extras: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(f"{project['name']}[{extra}]" for extra in extras)]
    print("\n".join(sorted(set(flatten(wanted, project)))))


if __name__ == "__main__":
    main(sys.argv[1:])
