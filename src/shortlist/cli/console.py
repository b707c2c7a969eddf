"""What the command line says and how it ends: data on stdout, everything else on stderr, exit codes."""

from __future__ import annotations

import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any
from unicodedata import bidirectional, category

import typer
from typer.core import TyperGroup

from shortlist.data.spans import span
from shortlist.errors import MissingExtra, ShortlistError, what_to_do

OK, PROBLEM, USAGE, FOUND, BUG, INTERRUPTED = 0, 1, 2, 3, 70, 130
EXIT_CODES = f"""\b
Exit codes:
  {OK:<4} done
  {PROBLEM:<4} a problem with data, a recipe, a bundle or a request; stderr says what and what to do
  {USAGE:<4} the command line cannot be understood
  {FOUND:<4} data validate found errors
  {BUG:<4} an error inside Shortlist itself
  {INTERRUPTED:<4} interrupted"""

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no notes on stderr.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what an earlier command wrote there.")]

Tell = Callable[[str, int, int], None]
"""Told the stage that is under way, and how much of how much of it is done."""

EVERY, STILL = 30.0, 300.0
"""Seconds between lines of progress where there is no terminal for a bar: of something new, of the same."""

_EXTRAS = {
    "polars": "tables",
    "scipy": "train",
    "jax": "train",
    "jaxlib": "train",
    "equinox": "train",
    "onnx": "train",
    "implicit": "baselines",
}
_FITTING = ("train", "tune")
"""Verbs whose extra, of their own name, brings all they need."""

_NOISE = "Value error, "  # what the parser puts before a choice that is none
_OPTIONS = {
    "replace=True": "--replace",
    "the ids: item=": "the ids: --item COLUMN",
    "only= or exclude=": "--only or --exclude",
    "to read only: open_live(..., write=False)": "wait for it; recommend, score and index stats work now",
}
"""What hints say to callers in Python, and what that is on the command line."""

_TURNS = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
"""Of signs that change the direction of the text after them."""


class Verbs(TyperGroup):
    """The root command: whatever a verb raises ends as one message on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (ShortlistError, OSError, ImportError, MemoryError, KeyboardInterrupt) as error:
            if isinstance(error, BrokenPipeError):
                raise  # the reader of our output left; Typer ends quietly
            if ctx.params.get("debug"):
                raise
            raise typer.Exit(_say(error, ctx.invoked_subcommand or "")) from None
        except Exception as error:
            if ctx.params.get("debug") or type(error).__module__.split(".")[0] in ("click", "typer"):
                if isinstance(said := getattr(error, "message", None), str):
                    error.message = said.removeprefix(_NOISE)  # type: ignore[attr-defined]
                raise  # the parser's own: usage errors, exits
            name = f"{type(error).__name__}: {error}".rstrip(": ")
            fail(f"a fault inside Shortlist: {name}", "shortlist --debug VERB ... shows where")
            raise typer.Exit(BUG) from None


def _say(error: BaseException, verb: str) -> int:
    if isinstance(error, KeyboardInterrupt):
        note("interrupted")
        return INTERRUPTED
    if isinstance(error, ImportError):
        package = (error.name or "").split(".")[0]
        if package not in _EXTRAS:
            fail(str(error), "is the installation whole? install Shortlist again")
            return PROBLEM
        extra = verb if verb in _FITTING else _EXTRAS[package]  # not one package after the other
        error = MissingExtra(package, extra, "this command")
    if isinstance(error, MemoryError):
        fail("out of memory", "a smaller batch_size, fewer items, or a larger machine")
    elif isinstance(error, ShortlistError):
        fail(str(error), _in_a_shell(error.hint))
    elif isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        fail(f"{place}{error.strerror or error}", what_to_do(error))
    return PROBLEM


def _in_a_shell(hint: str) -> str:
    """A hint whose Python is told as options."""
    for python, words in _OPTIONS.items():
        hint = hint.replace(python, words)
    return hint


def fail(message: str, hint: str = "") -> None:
    """`error: ...` and `hint: ...` on stderr, a line each whatever a library's message holds."""
    _echo(f"error: {_one_line(message)}", err=True)
    if hint:
        _echo(f"hint: {_one_line(hint)}", err=True)


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def note(message: str, *, quiet: bool = False) -> None:
    """A line for the person, on stderr."""
    if not quiet:
        _echo(message, err=True)


def out(text: str) -> None:
    """Data, on stdout."""
    _echo(text.rstrip("\n"))


def _echo(text: str, *, err: bool = False) -> None:
    typer.echo(harmless(text), err=err)


def harmless(text: str) -> str:
    """Signs that would command a terminal or turn its line around, written out (an escape as \\x1b), so that
    values out of data are only ever shown. Lines and tabs stay; JSON and TOML stay what they are."""
    return text if text.isprintable() else "".join(map(_written_out, text))


def _written_out(sign: str) -> str:
    if sign in "\n\t" or not (category(sign) == "Cc" or bidirectional(sign) in _TURNS):
        return sign
    return f"\\x{ord(sign):02x}" if sign < " " else f"\\u{ord(sign):04x}"


def out_json(value: Any) -> None:
    """Data for machines, on stdout; what is not a finite number is null."""
    out(json_text(value))


def json_text(value: Any) -> str:
    """JSON of plain values, NumPy scalars and arrays, and paths."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def plain(value: Any) -> Any:
    """Dictionaries, lists, strings, finite numbers, booleans and None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def examples(*lines: str) -> str:
    """The end of a verb's help: command lines to copy."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Aligned columns, plain text: numbers to the right, words to the left; None is a dash."""
    numeric = [all(_is_number(row[at]) for row in rows) for at in range(len(header))]
    cells = [list(map(harmless, header)), *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(header))]
    lines = []
    for row in cells:
        padded = [
            c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    return harmless(" ".join(str(value).split()))


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Tell]:
    """A progress bar on stderr that follows what it is told; where that is no terminal, a line now and then
    of what takes long."""
    if quiet:
        yield lambda stage, done, total: None
    elif sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        with _lines() as tell:
            yield tell


@contextmanager
def _lines() -> Iterator[Tell]:
    """A line of what was told last, every `EVERY` seconds; of what stays the same, every `STILL` seconds."""
    started, over = time.monotonic(), threading.Event()
    told: list[str] = []

    def tell(stage: str, done: int, total: int) -> None:
        told[:] = [f"{stage} ({done:,}/{total:,})" if total > 1 else stage]

    def say() -> None:
        said, at = "", started
        while not over.wait(EVERY):
            now = time.monotonic()
            if told and (told[0] != said or now - at >= STILL):
                said, at = told[0], now
                note(f"{said}, after {span(now - started)}")

    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    try:
        yield tell
    finally:
        over.set()
        speaker.join()


@contextmanager
def _bar() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    # What is done comes last and is cut where the line ends; the bar stays whole.
    stage_column = TextColumn(
        "{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)
    )
    columns = (SpinnerColumn(), BarColumn(20), TextColumn("{task.fields[count]}"), TimeElapsedColumn())
    bar = Progress(*columns, stage_column, console=Console(stderr=True), transient=True, expand=True)
    task = bar.add_task("", total=None, count="")

    def tell(stage: str, done: int, total: int) -> None:
        # One step of one says nothing of how far it is: such a stage only pulses.
        many = total > 1
        count = f"{done}/{total}" if many else ""
        bar.update(
            task, description=harmless(stage), completed=done, total=total if many else None, count=count
        )
        bar.start()

    try:
        yield tell
    finally:
        bar.stop()
