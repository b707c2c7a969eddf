"""Servers over small bundles, and pages of a real browser that let nothing wrong go by.

The browser is Debian's Chromium, driven by Playwright; the package runs in another environment
(SHORTLIST_PYTHON). Nothing of either is imported before a test asks for it. Every page is watched: an error
on its console, a request to another host or a refused script fails the test it was opened in.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

sys.path.insert(0, str(Path(__file__).parent))  # for what the files share: reading.py
ROOT = Path(__file__).resolve().parents[2]
BUILT = Path(os.environ.get("BROWSER_FOLDER") or ROOT / "build" / "browser")
PYTHON = Path(os.environ.get("SHORTLIST_PYTHON") or ROOT / ".venv" / "bin" / "python")
CHROMIUM = Path("/usr/bin/chromium")
PICTURES = ROOT / "docs" / "images" / "explorer"
PROGRAM = [str(PYTHON), "-c", "from shortlist.cli import main; main()"]
LIMIT = 400_000
"""Bytes that no answer of the interface may exceed, however large the catalogue."""


@pytest.fixture(scope="session")
def worlds() -> Path:
    """Bundles, made anew for every run; EXPLORER_WORLDS names a folder that keeps them."""
    assert PYTHON.is_file(), f"no {PYTHON}: run `make test-browser`"
    kept = os.environ.get("EXPLORER_WORLDS")
    folder = Path(kept) if kept else BUILT / "worlds"
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([str(PYTHON), str(Path(__file__).with_name("make_worlds.py")), str(folder)], check=True)
    return folder


@dataclass(frozen=True)
class Server:
    """A server that runs. url: without a slash at its end."""

    url: str

    def ask(self, path: str, body: Any = None) -> Any:
        """Its answer to a program: GET, or POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


def _serve(*words: str) -> Iterator[Server]:
    command = [*PROGRAM, "serve", *words, "--port", "0", "--watch", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            told = []
            for line in process.stderr:
                told.append(line)
                if '"ready"' in line:
                    yield Server(json.loads(line)["url"])
                    break
            else:
                pytest.fail("the server did not start: " + "".join(told)[-4000:])
            process.terminate()
            process.communicate(timeout=60)
        finally:
            process.kill()  # where it did not come so far


@pytest.fixture
def serve() -> Iterator[Any]:
    """Start a server for one test: serve(BUNDLE, ...). serve.key(FILE): a key for it."""
    with ExitStack() as stack:

        def started(*words: str) -> Server:
            return stack.enter_context(contextmanager(_serve)(*words))

        def key(file: Path) -> str:
            words = ["key", "--file", str(file), "--name", "tests"]
            done = subprocess.run([*PROGRAM, *words], check=True, capture_output=True, text=True)
            return done.stdout.strip()

        started.key = key  # type: ignore[attr-defined]
        yield started


@pytest.fixture(scope="session")
def server(worlds: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One bundle that reads a history, columns of the user and the time of day."""
    store = tmp_path_factory.mktemp("events") / "events.db"
    yield from _serve(str(worlds / "histories"), "--events", str(store))


@pytest.fixture(scope="session")
def pair(worlds: Path) -> Iterator[Server]:
    """Two bundles side by side."""
    yield from _serve(str(worlds / "histories"), "--against", str(worlds / "ids"), "--share", "0.5")


@pytest.fixture(scope="session")
def bare(worlds: Path) -> Iterator[Server]:
    """Retrieval alone, from pairs of ids alone: no columns, no ratings, no times."""
    yield from _serve(str(worlds / "bare"))


@pytest.fixture(scope="session")
def odd(worlds: Path) -> Iterator[Server]:
    """Ids and titles of any characters, any length and both directions."""
    yield from _serve(str(worlds / "odd"))


@pytest.fixture(scope="session")
def large(worlds: Path) -> Iterator[Server]:
    """A million items."""
    yield from _serve(str(worlds / "large"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    assert CHROMIUM.exists(), f"no {CHROMIUM}: run `make test-browser`"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@dataclass
class Watch:
    """What a page did that a test should know of."""

    origin: str
    expected: tuple[str, ...] = ()
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    policies: list[str] = field(default_factory=list)

    def follow(self, page: Page) -> None:
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("response", self._answered)

    def _hear(self, one: Any) -> None:
        if one.type in ("error", "warning"):
            self.said.append(f"{one.text} ({one.location.get('url', '')})")

    def _answered(self, response: Any) -> None:
        if response.request.resource_type == "document":
            self.policies.append(response.headers.get("content-security-policy", ""))
        self.sizes[response.url] = int(response.headers.get("content-length", 0))

    def require_clean(self) -> None:
        """No errors but those a test brought about, nothing from elsewhere, no long answer."""
        said = [text for text in self.said if not any(one in text for one in self.expected)]
        assert not said, "on the console: " + "; ".join(said)
        outside = [url for url in self.asked if not url.startswith((self.origin + "/", "data:"))]
        assert not outside, f"asked of others: {outside}"
        assert self.policies and all("default-src 'none'" in policy for policy in self.policies)
        assert not any("unsafe" in policy for policy in self.policies)
        long = {url: size for url, size in self.sizes.items() if "/v1/" in url and size > LIMIT}
        assert not long, f"long answers: {long}"


Visit = Callable[..., Any]
"""Gives a page that also has `watch`, and `until(script, argument)`."""


def _until(page: Page, script: str, *given: Any) -> None:
    """Wait until a script is true. (Playwright's own way of waiting needs what the page's policy forbids.)"""
    ends = time.monotonic() + 60
    while not page.evaluate(script, *given):
        assert time.monotonic() < ends, f"not within a minute: {script} {given}"
        page.wait_for_timeout(40)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Open a page: visit(server, "#/map", width=1280, theme="light", before=..., expected=(...)).

    before(page): what to do before anything is loaded; expected: texts of errors that the test brings about.
    """
    opened: list[tuple[BrowserContext, Watch]] = []

    def go(
        server: Server,
        place: str = "",
        *,
        width: int = 1280,
        height: int = 900,
        theme: str = "light",
        before: Callable[[Page], None] | None = None,
        expected: tuple[str, ...] = (),
        **options: Any,
    ) -> Page:
        size = {"width": width, "height": height}
        # Things that fade in are half transparent for a moment, which no test wants to meet.
        context = browser.new_context(
            viewport=size, color_scheme=theme, reduced_motion="reduce", service_workers="block", **options
        )
        context.set_default_timeout(60_000)
        page = context.new_page()
        watch = Watch(server.url, expected)
        watch.follow(page)
        page.watch, page.until = watch, partial(_until, page)
        opened.append((context, watch))
        if before is not None:
            before(page)
        page.goto(f"{server.url}/{place}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield go
    for context, _ in opened:
        context.close()
    for _, watch in opened:
        watch.require_clean()


@pytest.fixture(scope="session")
def settled() -> Callable[[Page], None]:
    """Wait until no part of a page is loading."""

    def wait(page: Page) -> None:
        _until(page, "!document.querySelector('main [data-state=loading], main [aria-busy=true]')")
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    return wait


@pytest.fixture(scope="session")
def axe() -> Callable[[Page], list[str]]:
    """Violations of accessibility rules on a page, the serious and the critical ones, with where they are."""
    script = BUILT / "node_modules" / "axe-core" / "axe.min.js"
    assert script.is_file(), f"no {script}: run `make test-browser`"
    rules = script.read_text("utf-8")

    def check(page: Page) -> list[str]:
        page.evaluate(rules + "; undefined")
        found = page.evaluate(
            "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"
        )
        return [
            f"{one['id']} ({one['impact']}): {node['target']} {node['failureSummary']}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    return check


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Page, str], None]:
    """Keep a picture of what a page shows: in docs/ where PICTURES is set, else where nobody looks."""
    folder = PICTURES if os.environ.get("PICTURES") else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)

    def keep(page: Page, name: str) -> None:
        path = folder / f"{name}.png"
        page.screenshot(path=path, animations="disabled", caret="hide")
        assert path.stat().st_size < 150_000, f"{path} has {path.stat().st_size:,} bytes"

    return keep
