from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shortlist.data import download
from shortlist.errors import DownloadError

BODY = b"some bytes " * 20_000


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/absent":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:1_000] if self.path == "/short" else BODY)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_verified_bytes_arrive(server: str) -> None:
    assert download.fetch_url(f"{server}/whole", md5=hashlib.md5(BODY).hexdigest()) == BODY


def test_cut_absent_altered_and_unreachable(server: str) -> None:
    md5 = hashlib.md5(BODY).hexdigest()
    with pytest.raises(DownloadError, match="/short: "):
        download.fetch_url(f"{server}/short", md5=md5)
    with pytest.raises(DownloadError, match="/absent: "):
        download.fetch_url(f"{server}/absent", md5=md5)
    with pytest.raises(DownloadError, match=f"with md5 {md5}, expected 0"):
        download.fetch_url(f"{server}/whole", md5="0" * 32)
    with pytest.raises(DownloadError, match="refused"):
        download.fetch_url("http://127.0.0.1:9/x", md5=md5)


def test_pip_failing_gives_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(DownloadError, match=r"pip download shortlist-no-such==1: ERROR: .*shortlist-no-such"):
        download.fetch_wheel("shortlist-no-such==1")


def test_an_interpreter_without_pip_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(DownloadError, match="pip download x"):
        download.fetch_wheel("x")


def test_a_write_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    download.write_atomic(path, b"old")
    assert path.read_bytes() == b"old"

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        download.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


class Bar:
    def __init__(self) -> None:
        self.seen: list[tuple[int, int | None]] = []
        self.stopped = False

    def add_task(self, label: str, total: int | None) -> int:
        return 7

    def update(self, task: int, *, completed: int, total: int | None) -> None:
        assert task == 7
        self.seen.append((completed, total))

    def stop(self) -> None:
        self.stopped = True


def test_progress_appears_only_after_its_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = Bar()
    monkeypatch.setattr(download, "_bar", lambda: bar)
    with download.progress("quick", after=60.0) as advance:
        advance(1, 2)
    assert not bar.seen
    with pytest.raises(KeyboardInterrupt), download.progress("long", after=0.0) as advance:
        advance(1, None)
        advance(2, 4)
        raise KeyboardInterrupt
    assert bar.seen == [(1, None), (2, 4)]
    assert bar.stopped


def test_the_real_bar_writes_nothing_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with download.progress("fetching", after=0.0) as advance:
        advance(1, 2)
    assert capsys.readouterr().out == ""


def test_rich_is_imported_only_when_there_is_something_to_show() -> None:
    code = (
        "import sys\n"
        "from shortlist.data import download\n"
        "with download.progress('x') as advance:\n"
        "    advance(1, 2)\n"
        "assert 'rich' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("platform", "ending"), [("linux", ".cache"), ("darwin", "Caches"), ("win32", "Local")]
)
def test_cache_folder(platform: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHORTLIST_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert download.cache_folder().parent.name == ending
    monkeypatch.setenv("SHORTLIST_CACHE", str(tmp_path / "mine"))
    assert download.cache_folder() == tmp_path / "mine"
