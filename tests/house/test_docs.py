"""What documents say is so: their code runs, their commands exist, their figures are those of the files."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
TRAINS = "<!-- run by `make notebooks` -->"


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    return [
        text for language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages
    ]


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


@cache
def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def runs_here(page: Path) -> bool:
    """Whether the fast suite runs the code of a page: `make docs` runs those that train for long, and what a
    translation shows is on the page it translates."""
    return bool(blocks(page, "python")) and not (TRAINS in page.read_text(encoding="utf-8") or chinese(page))


def chinese(page: Path) -> bool:
    return "zh" in page.parts or ".zh-" in page.name


def commands() -> Iterator[tuple[str, list[str], bool]]:
    """(page, words after `shortlist`, whether it must be complete): lines of blocks, and code in prose."""
    for page in PAGES:
        for block in blocks(page, "sh", "shell", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words and Path(words[0]).name == "shortlist":
                    yield named(page), words[1:], True
        for code in re.findall(r"`(?:\.venv/bin/)?shortlist ([^`]+)`", prose(page)):
            yield named(page), shlex.split(code), False


SHOWN = [
    (page, list(words), whole)
    for (words, whole), page in {(tuple(words), whole): page for page, words, whole in commands()}.items()
]


def few(data: Any) -> Any:
    """Users up to 200 and items up to 300: those the pages name are among them."""
    import polars as pl

    from shortlist.data.dataset import Dataset

    users, items = (
        pl.col(f"{side}_id").cast(pl.Int32) <= last for side, last in (("user", 200), ("item", 300))
    )
    rows = data.interactions.filter(users & items)
    return Dataset(rows, data.users.filter(users), data.items.filter(items), data.name, data.licence)


@pytest.mark.parametrize("page", [page for page in PAGES if runs_here(page)], ids=named)
def test_the_code_on_a_page_runs(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ml100k: Any,
) -> None:
    """From top to bottom in one namespace, as a reader would type it, in an empty folder, on a part of
    MovieLens (`make demo` and `make test-dist` take all of it)."""
    part = few(ml100k)
    monkeypatch.setattr("shortlist.data.datasets.movielens", lambda *given, **options: part)
    monkeypatch.chdir(tmp_path)
    place = ModuleType("as_shown")
    monkeypatch.setitem(sys.modules, place.__name__, place)
    for number, block in enumerate(blocks(page, "python"), 1):
        exec(compile(block, f"{named(page)}, block {number}", "exec"), place.__dict__)
    if page.name == "README.md":
        assert {path.parent.name for path in tmp_path.glob("*/manifest.json")} == {
            "movielens-bundle",
            "own-bundle",
        }
        assert "Verdict" in capsys.readouterr().out


def test_the_quickstart_is_short() -> None:
    assert len([line for line in blocks(ROOT / "README.md", "python")[0].splitlines() if line.strip()]) <= 20


@pytest.mark.parametrize(("page", "words", "whole"), SHOWN, ids=[" ".join(words) for _, words, _ in SHOWN])
def test_a_shown_command_can_be_understood(page: str, words: list[str], whole: bool) -> None:
    import typer

    from shortlist.cli import app

    command: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        verb = rest.pop(0)
        assert verb in command.commands, f"{page}: no verb {verb!r}"
        command = command.commands[verb]
    if whole:
        command.make_context(words[0], list(rest))  # raises where the words do not fit
    options = {"--help"} | {
        name for option in command.params for name in (*option.opts, *option.secondary_opts)
    }
    for word in rest:
        assert not word.startswith("-") or word.partition("=")[0] in options, f"{page}: no option {word!r}"


def test_many_commands_are_shown() -> None:
    assert {"data", "train", "evaluate", "recommend", "score", "similar", "export", "inspect", "runs"} <= {
        words[0] for _, words, whole in SHOWN if whole
    }


def test_make_verbs_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        shown = re.findall(r"`make\s+([a-z-]+)", page.read_text(encoding="utf-8"))
        shown += re.findall(r"^(?:\$ )?make ([a-z-]+)", "\n".join(blocks(page, "sh")), re.MULTILINE)
        assert set(shown) <= targets, named(page)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{named(page)} links to {target}"
        if heading:
            assert heading in headings(file), f"{named(page)} links to {target}"


def headings(page: Path) -> set[str]:
    """The anchors a page's headings get."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_generated_parts_are_up_to_date() -> None:
    readme = tool("readme")
    for name in readme.PAGES:
        page = (ROOT / name).read_text(encoding="utf-8")
        assert page == readme.rewritten(page), f"{name}: run `make readme`"


def test_every_generated_part_stands_on_a_page() -> None:
    readme = tool("readme")
    pages = "".join((ROOT / name).read_text(encoding="utf-8") for name in readme.PAGES)
    assert {part["name"] for part in readme.PART.finditer(pages)} == set(readme.writers())


def test_every_key_of_a_recipe_is_explained() -> None:
    assert "| ? |" not in (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


def test_recipes_on_pages_are_valid() -> None:
    from shortlist.recipes.run import find_recipe
    from shortlist.specs.recipe import Recipe

    shown = [tomllib.loads(block) for page in PAGES for block in blocks(page, "toml")]
    assert any("model" in block for block in shown)
    rest = find_recipe("ml100k-ids").to_dict()
    for block in shown:
        Recipe.from_dict(block if "model" in block else rest | block)  # some show one section


def test_the_table_has_a_row_for_every_experiment() -> None:
    from shortlist.recipes.tutorials import experiments

    rows = json.loads((ROOT / "docs" / "results" / "tutorials.json").read_text(encoding="utf-8"))
    assert [row["experiment"] for row in rows] == [found.name for found in experiments()]
    assert [row["printed"] for row in rows] == [found.printed for found in experiments()]


TRAINING = [page for page in PAGES if TRAINS in page.read_text(encoding="utf-8") and not chinese(page)]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))


def test_the_pages_that_train_are_those_make_docs_runs() -> None:
    assert tool("notebooks").RUN == TRAINS
    assert tool("notebooks").pages() == TRAINING
    assert set(TUTORIALS) < set(TRAINING)


@pytest.mark.parametrize("page", TRAINING, ids=named)
def test_a_page_that_trains_is_checked_by_its_figures(page: Path) -> None:
    """It compiles, shows what its blocks print, and says what must hold of it."""
    cells = tool("notebooks").cells(page.read_text(encoding="utf-8"))
    assert [cell.code for cell in cells] == blocks(page, "python"), "a block stands where none is found"
    assert sum(bool(cell.output) for cell in cells) == len(blocks(page, "output")) > 0
    assert all(
        cell.output
        for cell in cells
        if re.search(r"^print\(|^    print\(", cell.code, re.MULTILINE)
        and not re.search(r"^def ", cell.code, re.MULTILINE)
    )
    for number, cell in enumerate(cells, 1):
        compile(cell.code, f"{named(page)}, block {number}", "exec")
        for held in cell.holds:
            compile(held, f"{named(page)}, block {number}", "eval")
    assert any(cell.holds for cell in cells)


@pytest.mark.parametrize("page", TUTORIALS, ids=named)
def test_a_notebook_is_its_page(page: Path) -> None:
    shown = json.loads(page.with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert shown == tool("notebooks").notebook(page.read_text(encoding="utf-8")), "run `make notebooks`"


@pytest.mark.parametrize("page", TUTORIALS, ids=named)
def test_a_translation_shares_the_code_and_the_run(page: Path) -> None:
    english, other = (
        tool("notebooks").cells(path.read_text(encoding="utf-8")) for path in (page, translated(page))
    )
    assert [(cell.code, cell.output) for cell in other] == [(cell.code, cell.output) for cell in english]
    assert blocks(translated(page), "sh", "toml") == blocks(page, "sh", "toml")


def translated(page: Path) -> Path:
    return ROOT / "docs" / "zh" / page.name


def test_every_page_is_translated_as_often_as_it_should_be() -> None:
    assert {path.name for path in (ROOT / "docs" / "zh").glob("[0-9]*.md")} == {
        page.name for page in TUTORIALS
    }


@pytest.mark.parametrize("language", ["python", "sh"])
def test_the_chinese_readme_shows_what_the_readme_shows(language: str) -> None:
    lines = set("".join(blocks(ROOT / "README.md", language)).splitlines())
    shown = blocks(ROOT / "README.zh-CN.md", language)
    assert shown
    for block in shown:
        assert set(block.splitlines()) <= lines


def test_figures_of_a_run_are_compared() -> None:
    agree = tool("notebooks").agree
    assert agree("RMSE 1.114 (1.089 to 1.141)\n", "RMSE 1.120 (1.090 to 1.139)\n")
    assert not agree("RMSE 1.114", "RMSE 1.150")
    assert not agree("EASE wins 0.1", "iALS wins 0.1")
    assert not agree("raw 0.295", "raw 0.295 0.412")


def test_the_reference_is_up_to_date() -> None:
    reference = tool("reference")
    wanted = reference.pages()
    there = {
        path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md")
    }
    assert there.keys() == wanted.keys(), "run `make readme`"
    for name, text in wanted.items():
        assert there[name] == text, f"docs/reference/{name}: run `make readme`"


def test_every_public_name_and_every_verb_is_in_the_reference() -> None:
    import typer

    import shortlist
    from shortlist.cli import app

    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    titles = set(re.findall(r"^#+ (.*)$", pages, re.MULTILINE))
    names = {f"sl.{name}" for name in shortlist.__all__} - {"sl.__version__", "sl.ShortlistError"}
    verbs = {f"shortlist {name}" for name in typer.main.get_command(app).commands}  # type: ignore[attr-defined]
    assert names | verbs | {"ShortlistError"} <= titles


def test_the_site_leads_to_every_page() -> None:
    listed = set(re.findall(r": ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))
    places = set(tool("site").sources().values()) | {"decisions/index.md"}
    assert listed - places == set(), "listed, and not there"
    assert {place for place in places - listed if not place.startswith("decisions/0")} == set()


def test_links_are_led_to_where_the_site_has_them() -> None:
    site = tool("site")
    text = site.page(
        "docs/accuracy.md",
        "[a](../README.md#x) [b](log.md) [c](../src/shortlist/api/cases.py)",
        site.sources(),
    )
    assert text == "[a](project/readme.md#x) [b](log.md) c"
    assert site.page("README.md", "so:\n- one", site.sources()) == "so:\n\n- one"


def test_what_a_page_fetches_is_found() -> None:
    shown = '<a href="https://elsewhere">x</a><script src="//cdn/x.js"></script><h2 id="slfit">sl.fit</h2>'
    found = tool("site")._Requests(shown)
    assert (found.fetched, found.anchors) == (["//cdn/x.js"], {"slfit"})
