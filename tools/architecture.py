"""Draws the tree of the package for docs/architecture.md, each module with its docstring's first line."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "shortlist"
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- tree: written by `make architecture` -->", "<!-- end of tree -->"
DATA = {".toml", ".html", ".css", ".js", ".svg", ".typed"}


def summary(module: Path) -> str:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def tree(package: Path = PACKAGE) -> str:
    """The modules and data files under `package`, a folder's own docstring beside its name."""
    rows: list[tuple[str, str]] = [(f"{package.name}/", summary(package / "__init__.py"))]

    def walk(folder: Path, depth: int) -> None:
        entries = [entry for entry in folder.iterdir() if entry.name not in {"__init__.py", "__pycache__"}]
        for entry in sorted(entries, key=lambda entry: (entry.is_dir(), entry.name)):
            indent = "  " * depth
            if entry.is_dir() and any(entry.rglob("*.*")):
                init = entry / "__init__.py"
                rows.append((f"{indent}{entry.name}/", summary(init) if init.exists() else ""))
                walk(entry, depth + 1)
            elif entry.suffix == ".py":
                rows.append((indent + entry.name, summary(entry)))
            elif entry.suffix in DATA:
                rows.append((indent + entry.name, ""))

    walk(package, 1)
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{text}".rstrip() for name, text in rows)


def rewritten(page: str) -> str:
    """The page with the text between its two markers replaced by the present tree."""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise SystemExit(f"{PAGE.name} needs the lines {START!r} and {END!r}; the tree goes between them")
    return f"{before}{START}\n```text\n{tree()}\n```\n{END}{after}"


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    fresh = rewritten(page)
    if fresh != page:
        PAGE.write_text(fresh, encoding="utf-8")
        print(f"rewrote {PAGE.relative_to(ROOT)}", file=sys.stderr)


if __name__ == "__main__":
    main()
