"""The explorer's files: how they are sent, that they ask for nothing elsewhere, that people can read them."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

import pytest

from shortlist.server.guards import add_key
from shortlist.server.routes.ui import KINDS, read_files

UI = Path(__file__).resolve().parents[2] / "src/shortlist/server/ui"
FILES = {"/" + path.relative_to(UI).as_posix(): path.read_text("utf-8") for path in UI.rglob("*.*")}
SCRIPTS = {path: text for path, text in FILES.items() if path.endswith(".js")}
NAMESPACE = "http://www.w3.org/2000/svg"
IMPORTED = re.compile(r"""(?:\bfrom|\bimport)\s*\(?\s*["'](\.[^"']+)["']""")
LINKED = re.compile(r"""\b(?:href|src)="([^"#]+)\"""")
SPEAKS_HTML = re.compile(
    r"\b(innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\()|setAttribute\(\"style"
)


def test_every_file_is_sent_as_what_it_is(client: Any) -> None:
    sent = read_files()
    assert {"/index.html" if path == "/" else path for path in sent} == set(FILES)
    for path, file in sent.items():
        found = client.get(path)
        assert found.status_code == 200 and found.content == file.body
        kind = "html" if path == "/" else path.rpartition(".")[2]
        assert found.headers["content-type"].encode() == KINDS[kind]
        policy = found.headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"} <= {
            *policy
        }
        assert "unsafe" not in found.headers["content-security-policy"]
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["referrer-policy"] == "no-referrer"


def test_a_browser_that_has_a_file_is_not_sent_it_again(client: Any) -> None:
    first = client.get("/app.js")
    again = client.get("/app.js", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert (
        again.status_code == 304 and again.content == b"" and again.headers["etag"] == first.headers["etag"]
    )
    assert client.get("/app.js", headers={"if-none-match": '"other"'}).status_code == 200
    head = client.request("HEAD", "/app.js")
    assert head.content == b"" and head.headers["content-length"] == str(len(first.content))


def test_what_is_refused(client: Any) -> None:
    refused = client.post("/", json={})
    assert refused.status_code == 405 and refused.headers["allow"] == "GET, HEAD"
    assert refused.headers["content-type"] == "application/problem+json"
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    for path in ("/index.html", "/panels", "/../app.py", "/%2e%2e/app.py", "/app.js/", "/APP.js"):
        assert client.get(path).status_code == 404, path


def test_the_page_is_open_and_what_it_shows_is_not(serve: Any, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.txt", "me")
    client = serve(keys=tmp_path / "keys.txt")
    assert client.get("/").status_code == 200 and client.get("/v1/items").status_code == 401


def test_it_can_be_left_out(serve: Any) -> None:
    client = serve(explorer=False)
    assert client.get("/").status_code == client.get("/app.js").status_code == 404
    assert client.get("/docs").status_code == 200


def test_it_is_counted(serve: Any) -> None:
    client = serve()
    client.get("/")
    assert 'shortlist_requests_total{route="explorer",status="2xx"} 1.0' in client.get("/metrics").text


def references(path: str) -> set[str]:
    """Files that a file names."""
    pattern = IMPORTED if path.endswith(".js") else LINKED
    return {normpath(join(dirname(path), found)) for found in pattern.findall(FILES[path])}


def test_every_file_is_reached_and_is_there() -> None:
    reached, waiting = set(), {"/index.html"}
    while waiting:
        path = waiting.pop()
        reached.add(path)
        assert path in FILES or path == "/docs", f"{path} is named and not there"
        waiting |= references(path) - reached if path in FILES else set()
    assert reached - {"/docs"} == set(FILES), f"nothing names {sorted(set(FILES) - reached)}"


@pytest.mark.parametrize("path", sorted(FILES))
def test_nothing_comes_from_elsewhere_or_turns_into_markup(path: str) -> None:
    text = FILES[path].replace(NAMESPACE, "")
    assert not re.search(r"https?://|//[a-z]+\.|@import|url\(", text)
    if path.endswith(".js"):
        assert not SPEAKS_HTML.search(text), f"{path} makes markup from text"
        assert text.startswith("// ") and len(text.splitlines()) < 300
    if path.endswith(".html"):
        assert not re.search(r"<style|\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)", text)


def tokens(at: int) -> dict[str, str]:
    """Colours of the style sheet's tokens: those of the light theme (0), of the dark one (1)."""
    pairs = re.findall(r"(--[\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", FILES["/style.css"])
    return {name: colours[at] for name, *colours in pairs}


LIGHT, DARK = tokens(0), tokens(1)


def test_a_colour_is_written_once_and_for_both_themes() -> None:
    """As a token; what lies under a dialog is as dark in both."""
    names = re.findall(r"^ *(--[\w-]+):", FILES["/style.css"], re.MULTILINE)
    assert len(names) == len(set(names)) > len(LIGHT) > 25
    for path in FILES:
        if path.endswith(".css"):
            for line in FILES[path].splitlines():
                literal = re.search(r"#[0-9a-f]{3,8}\b|\b(rgb|hsl|lab|lch|oklch)a?\(", line)
                assert not literal or "light-dark(" in line or "rgb(10 12 16 / 45%)" in line, (path, line)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(theme: dict[str, str]) -> None:
    grounds = ("--surface", "--raised", "--sunken")
    written = [*product(("--ink", "--ink-soft", "--accent", "--good", "--bad", "--warn"), grounds)]
    written += [(f"--{name}", f"--{name}-soft") for name in ("good", "bad", "warn", "accent")]
    written += [("--accent-ink", "--accent"), ("--ink", "--bad-soft"), ("--ink", "--accent-soft")]
    for text, ground in written:
        found = contrast(theme[text], theme[ground])
        assert found >= 4.5, f"{text} on {ground}: {found:.2f}"
    drawn = [f"--c{n}" for n in range(1, 9)] + ["--line-strong", "--focus"]
    for mark, ground in product(drawn, ("--surface", "--raised")):
        found = contrast(theme[mark], theme[ground])
        assert found >= 3, f"{mark} on {ground}: {found:.2f}"
