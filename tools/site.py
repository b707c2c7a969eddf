"""The documentation site: pages gathered for the generator before it runs, and what it built checked after.

    python tools/site.py gather     docs/ and the repository's own pages -> build/pages
    python tools/site.py check      build/site asks nothing of other hosts, pages and public names are there

Pages are written to be read on any code host. The generator wants a little more: one folder, a blank line
before each list and table, no links to files that are not pages.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent
PAGES, SITE = ROOT / "build" / "pages", ROOT / "build" / "site"
OUTSIDE = {
    "README.md": "project/readme.md",
    "README.zh-CN.md": "zh/index.md",
    "CHANGELOG.md": "project/changes.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "benchmarks/README.md": "project/benchmarks.md",
}
"""Pages that do not stand in docs/, and where the site has them."""
COPIED = {".svg", ".png", ".ipynb"}
FENCE = re.compile(r"(^```.*?^```[^\n]*\n?)", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)
BEGINS = re.compile(r"(?:[-*] |\d+\. |\|)")


def sources() -> dict[str, str]:
    """Every page by its path in the repository, and its path on the site."""
    found = {page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md")}
    own = {name: name.removeprefix("docs/") for name in sorted(found)}
    return own | {name: place for name, place in OUTSIDE.items() if (ROOT / name).exists()}


def gather() -> None:
    """Write build/pages anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    places = sources()
    for name, place in places.items():
        _write(PAGES / place, page(name, (ROOT / name).read_text(encoding="utf-8"), places))
    for file in (ROOT / "docs").rglob("*"):
        if file.suffix in COPIED:
            target = PAGES / file.relative_to(ROOT / "docs")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    _write(PAGES / "decisions" / "index.md", _decisions())


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _decisions() -> str:
    lines = ["# Decisions", "", "Choices that code alone does not explain, one a page.", ""]
    for file in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        title = file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        lines.append(f"- [{title}]({file.name})")
    return "\n".join(lines) + "\n"


def page(name: str, text: str, places: dict[str, str]) -> str:
    """A page as the generator reads it: links between pages led anew, blocks of code untouched."""
    parts = FENCE.split(text)
    return "".join(part if part.startswith("```") else _prose(name, part, places) for part in parts)


def _prose(name: str, text: str, places: dict[str, str]) -> str:
    text = COMMENT.sub("\n", text)
    text = LINK.sub(lambda match: _link(name, match, places), text)
    lines: list[str] = []
    for line in text.split("\n"):
        before = lines[-1] if lines else ""
        if BEGINS.match(line) and before.strip() and not BEGINS.match(before) and not before.startswith(" "):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)


def _link(name: str, match: re.Match[str], places: dict[str, str]) -> str:
    image, text, target = match.groups()
    path, hash_, heading = target.partition("#")
    if re.match(r"[a-z]+:", target) or not path:
        return match[0]
    meant = os.path.normpath(PurePosixPath(name).parent / path)
    place = places.get(meant)
    if meant == "docs/decisions":
        place = "decisions/index.md"
    elif Path(meant).suffix in COPIED and meant.startswith("docs/"):
        place = meant.removeprefix("docs/")
    if place is None:  # a file of the repository that is no page
        return text
    way = os.path.relpath(place, PurePosixPath(places[name]).parent)
    return f"{image}[{text}]({way}{hash_}{heading})"


class _Requests(HTMLParser):
    """What a page makes the reader's browser fetch, and the anchors it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.anchors.add(str(given["id"]))
        source = given.get("src") or (given.get("href") if tag == "link" else None)
        if source and given.get("rel") != "canonical":
            self.fetched.append(source)


def check() -> list[str]:
    """What is wrong with the built site, a sentence each."""
    wrong = []
    read = {path: _Requests(path.read_text(encoding="utf-8")) for path in SITE.rglob("*.html")}
    for path, found in read.items():
        for source in found.fetched:
            if re.match(r"(?:[a-z]+:)?//", source):
                wrong.append(f"{path.relative_to(SITE)} fetches {source}")
    for sheet in SITE.rglob("*.css"):
        for source in re.findall(r"url\((?:[a-z]+:)?//[^)]*", sheet.read_text(encoding="utf-8")):
            wrong.append(f"{sheet.relative_to(SITE)} fetches {source}")
    for place in sources().values():
        if not (SITE / place).with_suffix(".html").exists():
            wrong.append(f"{place} was not built")
    names = [n for n in _public() if f"sl{n.lower()}" not in {a for f in read.values() for a in f.anchors}]
    return wrong + [f"sl.{name} stands on no page of the reference" for name in names]


def _public() -> list[str]:
    import shortlist

    return [name for name in shortlist.__all__ if name not in ("__version__", "ShortlistError")]


def main(verb: str) -> int:
    if verb == "gather":
        gather()
        return 0
    wrong = check()
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    if not wrong:
        print(f"{len(list(SITE.rglob('*.html')))} pages in {SITE.relative_to(ROOT)}, none asks another host")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
