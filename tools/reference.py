"""Writes docs/reference: every public name from its docstring and signature, every verb from its `--help`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

import shortlist
from shortlist import errors
from shortlist.cli import app

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "reference"
WRITTEN = "<!-- written by `make readme` from {} -->\n"
WIDTH = 100


@dataclass(frozen=True)
class Page:
    """One page of the reference: the public names of modules in `homes` that stand on no page before it."""

    file: str
    title: str
    opening: str
    homes: tuple[str, ...]


PAGES = (
    Page(
        "data",
        "Data",
        "Tables, data sets and splits.",
        ("shortlist.data", "shortlist.api.encoding", "shortlist.api.stored"),
    ),
    Page("features", "Features", "A column, and what to make of it.", ("shortlist.specs.features",)),
    Page(
        "aggregates",
        "Aggregates",
        "Numbers of a pair that come from other events; a head takes them as `aggregates`.",
        ("shortlist.specs.aggregates",),
    ),
    Page(
        "models",
        "Models and tasks",
        "What a model is made of and what it learns, declared.",
        ("shortlist.specs.models", "shortlist.specs.tasks", "shortlist.models", "shortlist.tasks"),
    ),
    Page(
        "training",
        "Training and recipes",
        "How a model is trained, and trained on.",
        (
            "shortlist.specs.training",
            "shortlist.specs.recipe",
            "shortlist.api.fitting",
            "shortlist.api.warming",
            "shortlist.recipes",
        ),
    ),
    Page(
        "recommending",
        "Recommending and evaluating",
        "What a trained model answers, and how well.",
        ("shortlist",),
    ),
)


def pages() -> dict[str, str]:
    """The text of every page by its file's name."""
    out = {"cli.md": cli(), "errors.md": exceptions()}
    homes = {name: home(name) for name in shortlist.__all__ if name not in ("__version__", "ShortlistError")}
    for page in PAGES:
        names = [n for n, module in homes.items() if any(_within(module, h) for h in page.homes)]
        homes = {name: module for name, module in homes.items() if name not in names}
        if names:
            parts = [described(f"sl.{name}", getattr(shortlist, name), 2) for name in names]
            opening = f"{page.opening} `import shortlist as sl`.\n"
            out[f"{page.file}.md"] = _page(page.title, "the docstrings", opening, parts)
    return out


def home(name: str) -> str:
    """The module a public name comes from."""
    value = getattr(shortlist, name)
    return value.__name__ if inspect.ismodule(value) else str(value.__module__)


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def _page(title: str, source: str, opening: str, parts: list[str]) -> str:
    return "\n".join([WRITTEN.format(source), f"# {title}\n", opening, *parts]).rstrip() + "\n"


def described(name: str, value: Any, level: int) -> str:
    """A name's heading, signature and docstring; then its public members, those of a module or a class."""
    lines = [f"{'#' * level} {name}\n"]
    if not inspect.ismodule(value):
        lines.append(f"```text\n{signature(name, value)}\n```\n")
    lines.append(prose(inspect.getdoc(value)) + "\n")
    shown = list(members(value))
    lines += [described(f"{name}.{member}", found, level + 1) for member, found in shown]
    return "\n".join(lines)


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """The functions of a module, the documented methods and properties a class itself defines."""
    if inspect.ismodule(value):
        for name in sorted(n for n in vars(value) if not n.startswith("_")):
            found = getattr(value, name)
            if inspect.isfunction(found) and found.__module__ == value.__name__:
                yield name, found
    elif inspect.isclass(value):
        for name, found in vars(value).items():
            if isinstance(found, classmethod | staticmethod):
                found = found.__func__
            known = inspect.isfunction(found) or isinstance(found, property)
            if known and not name.startswith("_") and found.__doc__:
                yield name, found


def signature(name: str, value: Any) -> str:
    """As it is called, a parameter a line where it is long."""
    if isinstance(value, property):
        found = inspect.signature(value.fget).return_annotation if value.fget else inspect.Signature.empty
        return f"{name}{'' if found is inspect.Signature.empty else f': {_annotation(found)}'}"
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return name
    parameters = [_parameter(p) for p in _marked(found)]
    back = "" if inspect.isclass(value) or found.return_annotation is found.empty else found.return_annotation
    arrow = f" -> {_annotation(back)}" if back else ""
    line = f"{name}({', '.join(parameters)}){arrow}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){arrow}"


def _marked(found: inspect.Signature) -> Iterator[inspect.Parameter | str]:
    """The parameters, with the star that names are needed from."""
    starred = False
    for parameter in found.parameters.values():
        if parameter.name in ("self", "cls") or parameter.name.startswith("_"):
            continue
        starred |= parameter.kind is parameter.VAR_POSITIONAL
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        yield parameter


def _parameter(parameter: inspect.Parameter | str) -> str:
    if isinstance(parameter, str):
        return parameter
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    text = stars + parameter.name
    if parameter.annotation is not parameter.empty:
        text += f": {_annotation(parameter.annotation)}"
    if parameter.default is not parameter.empty:
        text += f" = {_default(parameter.default)}"
    return text


def _annotation(found: Any) -> str:
    text = found if isinstance(found, str) else inspect.formatannotation(found)
    return re.sub(r"\b(?:shortlist|polars|numpy|typing|collections\.abc)(?:\.\w+)*\.(?=\w)", "", text)


def _default(value: Any) -> str:
    text = repr(value)
    return "..." if text.startswith("<") or " object at " in text else text


def prose(text: str | None) -> str:
    """A docstring as Markdown: sections and indented lists as lists, the rest as it stands."""
    lines, out, listing = (text or "").splitlines(), [], False
    for line in lines:
        section = re.fullmatch(r"(Args|Raises|Returns|Yields|(?:.*\. )?Fields):", line.strip())
        item = re.match(r"(?: {4}|(?=\w[\w, ]*: ))(\w[\w, *]*): (.*)", line) if listing else None
        if section:
            out += ["", f"{section[1]}:", ""]
            listing = True
        elif item:
            out.append(f"- `{item[1]}`: {item[2]}")
        elif listing and line.startswith("    "):
            out.append("  " + line.strip())
        else:
            listing = listing and not line.strip()
            out.append(line)
    return _escaped("\n".join(out)).strip()


def _escaped(text: str) -> str:
    """Names with an underscore as code, stars and angle brackets of formulas as characters."""
    text = re.sub(r"`[^`]*`|\b\w+(?:\.\w+)*_\w+\b", lambda m: f"`{m[0].strip('`')}`", text)
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(p if p.startswith("`") else re.sub(r"([*<])", r"\\\1", p) for p in parts)


def exceptions() -> str:
    """The exception tree."""
    found = [v for v in vars(errors).values() if inspect.isclass(v) and v.__module__ == errors.__name__]
    parts = []
    for error in found:
        parents = ", ".join(f"`{parent.__name__}`" for parent in error.__bases__)
        doc = inspect.getdoc(error) if error.__doc__ else ""
        parts.append(f"## {error.__name__}\n\nKind of {parents}. {prose(doc)}\n")
    opening = "Every error raised on purpose, from `shortlist.errors`; `hint` says what to do.\n"
    return _page("Errors", "the docstrings", opening, parts)


def cli() -> str:
    """Every verb's help, as it is printed."""
    command: Any = typer.main.get_command(app)
    parts = [
        f"## {' '.join(words)}\n\n```text\n{text}\n```\n" for words, text in helps(command, ("shortlist",))
    ]
    opening = "Data goes to stdout, notes to stderr. What every verb says of itself:\n"
    return _page("Command line", "`--help`", opening, parts)


def helps(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    """(words, help) of a command and of all below it."""
    context = command.make_context(" ".join(words), [], resilient_parsing=True)
    context.terminal_width = context.max_content_width = WIDTH
    yield words, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        yield from helps(command.commands[name], (*words, name))


def main(write: Callable[[Path, str], Any] = Path.write_text) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = pages()
    for old in set(FOLDER.glob("*.md")) - {FOLDER / name for name in wanted}:
        old.unlink()
    for name, text in wanted.items():
        write(FOLDER / name, text)


if __name__ == "__main__":
    sys.exit(main())
