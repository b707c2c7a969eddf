"""Runs the pages that train: fills in what they print, and writes the tutorials as notebooks.

    python tools/notebooks.py               run, write pages, translations and notebooks
    python tools/notebooks.py --check       run, compare with what stands there, write nothing
    python tools/notebooks.py [--check] docs/tutorials/1-ranking.md ...

A page takes part by saying so in a comment (`RUN`). Its Python blocks run from top to bottom in a kernel of
their own, in an empty folder. What a block prints stands in the `output` block after it. Then may follow, in
comments:

    <!-- holds: EXPRESSION -->     must be true after the block; several may follow one another
    <!-- output varies -->         the output is shown as it came, and not compared

Compared outputs must agree word by word, numbers by 2 % or 0.011, whichever is more: another processor rounds
otherwise. A page in docs/tutorials is also written as a notebook with its outputs. A translation, of the same
name in docs/zh, shares the code and the outputs of the run.
"""

from __future__ import annotations

import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import isclose
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RUN = "<!-- run by `make notebooks` -->"
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```output\n(?P<output>.*?)^```\n)?(?P<notes>(?:\n?<!--[^\n]*-->\n)*)",
    re.DOTALL | re.MULTILINE,
)
HOLDS = re.compile(r"<!-- holds: (.*?) -->")
VARIES = "<!-- output varies -->"
NUMBER = re.compile(r"[-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?")
RELATIVE, ABSOLUTE = 0.02, 0.011
SIDE_BY_SIDE = 2
SECONDS = 600


@dataclass(frozen=True)
class Cell:
    """A block of code with what it printed, what must hold after it, and whether its output may vary."""

    code: str
    output: str
    notes: str

    @property
    def holds(self) -> list[str]:
        return HOLDS.findall(self.notes)

    @property
    def varies(self) -> bool:
        return VARIES in self.notes

    def text(self) -> str:
        """As it stands on a page."""
        shown = f"\n```output\n{self.output}```\n" if self.output else ""
        return f"```python\n{self.code}```\n{shown}{self.notes}"


def pages() -> list[Path]:
    """The pages that are run; translations are not among them."""
    found = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "zh" not in page.parts]
    return [page for page in found if RUN in page.read_text(encoding="utf-8")]


def translations(page: Path) -> list[Path]:
    return [path for path in [ROOT / "docs" / "zh" / page.name] if path.exists() and is_tutorial(page)]


def is_tutorial(page: Path) -> bool:
    return page.parent.name == "tutorials"


def cells(text: str) -> list[Cell]:
    """The cells of a page."""
    return [Cell(m["code"], m["output"] or "", m["notes"]) for m in BLOCK.finditer(text)]


def with_outputs(text: str, run: list[Cell]) -> str:
    """The page with the outputs of a run; whatever else it says of its blocks stays."""
    fresh = iter(run)
    return BLOCK.sub(
        lambda m: replace(next(fresh), notes=m["notes"]).text(),
        text,
    )


def prose(text: str) -> list[str]:
    """The parts of a page between its blocks of code, one more than these, without comments."""
    parts = re.split(
        BLOCK.pattern.replace("?P<code>", "?:").replace("?P<output>", "?:").replace("?P<notes>", "?:"),
        text,
        flags=re.DOTALL | re.MULTILINE,
    )
    return [re.sub(r"<!--.*?-->\n?", "", part, flags=re.DOTALL).strip() for part in parts]


def notebook(text: str) -> dict[str, Any]:
    """A page as a notebook, outputs included."""
    written: list[dict[str, Any]] = []
    code = [_code_cell(number, cell) for number, cell in enumerate(cells(text), start=1)]
    for at, part in enumerate(prose(text)):
        if part:
            written.append({"cell_type": "markdown", "metadata": {}, "source": _lines(part)})
        written += code[at : at + 1]
    for number, cell in enumerate(written):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": written, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def _code_cell(number: int, cell: Cell) -> dict[str, Any]:
    outputs = (
        [{"name": "stdout", "output_type": "stream", "text": _lines(cell.output)}] if cell.output else []
    )
    return {
        "cell_type": "code",
        "execution_count": number,
        "metadata": {},
        "outputs": outputs,
        "source": _lines(cell.code.rstrip("\n")),
    }


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def executed(page: Path) -> tuple[list[Cell], float]:
    """The cells with what they print now, and seconds of CPU. Raises CellExecutionError where one fails, or
    does not hold."""
    import nbformat
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    found = cells(page.read_text(encoding="utf-8"))
    made: Any = nbformat.v4.new_notebook()
    for cell in found:
        made.cells.append(nbformat.v4.new_code_cell(cell.code))
        asserts = "\n".join(f"assert {held}, {held!r}" for held in cell.holds)
        made.cells.append(nbformat.v4.new_code_cell(asserts))
    made.cells.append(nbformat.v4.new_code_cell("import time\nprint(time.process_time())"))
    with TemporaryDirectory() as place, TemporaryDirectory() as sockets:
        # Files instead of ports: two kernels that start at once cannot take the same one.
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{sockets}/kernel")
        resources = {"metadata": {"path": place}}
        NotebookClient(made, km=kernel, timeout=SECONDS, resources=resources).execute()
    *ran, last = made.cells
    run = [replace(c, output=_printed(r.outputs)) for c, r in zip(found, ran[::2], strict=True)]
    return run, float(_printed(last.outputs))


def _printed(outputs: list[Any]) -> str:
    """What a cell printed, and its last value."""
    texts = [
        out.text if out.output_type == "stream" else out.data["text/plain"] + "\n"
        for out in outputs
        if out.output_type in ("stream", "execute_result", "display_data") and out.get("name") != "stderr"
    ]
    return "".join(line.rstrip() + "\n" for line in "".join(texts).strip("\n").splitlines())


def differences(shown: list[Cell], run: list[Cell]) -> list[str]:
    """Where a run does not bear out what a page shows, a sentence each."""
    pairs = enumerate(zip(shown, run, strict=True), start=1)
    return [
        f"block {number} prints\n{new.output}where the page shows\n{old.output}"
        for number, (old, new) in pairs
        if not (old.varies and old.output and new.output) and not agree(old.output, new.output)
    ]


def agree(one: str, other: str) -> bool:
    """The same words, and numbers that are close."""
    words = [NUMBER.sub("#", text).split() for text in (one, other)]
    numbers = [[float(n.replace(",", "")) for n in NUMBER.findall(text)] for text in (one, other)]
    return words[0] == words[1] and all(
        isclose(a, b, rel_tol=RELATIVE, abs_tol=ABSOLUTE) for a, b in zip(*numbers, strict=True)
    )


def written(page: Path, run: list[Cell]) -> dict[Path, str]:
    """Every file that a run of a page settles."""
    out = {path: with_outputs(path.read_text(encoding="utf-8"), run) for path in [page, *translations(page)]}
    if is_tutorial(page):
        made = notebook(out[page])
        out[page.with_suffix(".ipynb")] = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
    return out


def main(words: list[str]) -> int:
    check = "--check" in words
    chosen = [Path(word).resolve() for word in words if word != "--check"] or pages()
    wrong, failed = 0, 0
    os.environ["PYTHONPATH"] = str(ROOT / "src")  # kernels run in folders of their own
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        jobs = {page: pool.submit(executed, page) for page in chosen}
        for page, job in jobs.items():
            name = page.relative_to(ROOT)
            if job.exception() is not None:
                failed += 1
                print(f"{name} failed: {job.exception()}", file=sys.stderr)
                continue
            run, cpu = job.result()
            if check:
                found = differences(cells(page.read_text(encoding="utf-8")), run)
                wrong += len(found)
                print("".join(f"{name}: {sentence}\n" for sentence in found), end="")
            else:
                for path, text in written(page, run).items():
                    path.write_text(text, encoding="utf-8")
            print(f"{name}: {'checked' if check else 'written'}, {cpu:.0f} CPU s")
    if wrong:
        print("figures moved: run `make notebooks` and look at what changed", file=sys.stderr)
    return bool(wrong or failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
