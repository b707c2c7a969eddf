"""Folders the verbs read and write: a bundle inside a run, a new folder that is whole or not there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

from shortlist.cli.console import note
from shortlist.errors import BundleError, DataError

MANIFEST = "manifest.json"
_NAMED = 5


def bundle_folder(path: Path) -> Path:
    """The bundle at `path`: the folder itself, or `bundle/` inside a run's folder.

    Raises BundleError when there is no such folder, or it holds several.
    """
    inside = path / "bundle"
    if inside.is_dir():
        return inside
    if path.is_dir():
        if not (path / MANIFEST).exists() and (inside_it := _bundles(path)):
            raise BundleError(f"{path} is a folder of runs, not one", hint=f"name one: {inside_it}")
        return path
    if path.exists():
        raise BundleError(f"{path} is a file; a bundle is a folder", hint="name the folder that holds it")
    raise BundleError(f"no such bundle: {path}", hint=_nearby(path))


def _bundles(home: Path) -> str:
    """The folders in this one that are bundles or hold one, the newest first, at most five."""
    held = {MANIFEST, f"bundle/{MANIFEST}"}
    there = [
        path
        for path in home.iterdir()
        if path.name[0] != "." and any((path / name).is_file() for name in held)
    ]
    there.sort(key=lambda path: (-path.stat().st_mtime, path.name))
    return ", ".join(map(str, there[:_NAMED])) + (", ..." if len(there) > _NAMED else "")


def _nearby(path: Path) -> str:
    parent = path.parent
    names = sorted(p.name for p in parent.iterdir() if p.is_dir()) if parent.is_dir() else []
    near = get_close_matches(path.name, names)
    if near:
        return f"did you mean {' or '.join(str(parent / name) for name in near)}?"
    return "train one: shortlist train ml100k-ids"


@contextmanager
def new_folder(path: Path, *, force: bool, sign: str) -> Iterator[Path]:
    """A temporary sibling to write into, which becomes `path` when the block ends well and vanishes else.

    An existing `path` must be empty, or `force` be given and the file `sign` lie in it (so that only what
    an earlier command wrote is ever replaced). Raises DataError otherwise, before anything is written, and
    BundleError where the journal of a bundle in it holds operations.
    """
    path = Path(os.path.abspath(path))
    require_free(path, force=force, sign=sign)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield fresh
        fresh.chmod(0o755)
        if path.exists():
            _require_no_operations(path)  # also none of those that came meanwhile
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            os.replace(path, old)
            os.replace(fresh, path)
            shutil.rmtree(old)
        else:
            os.replace(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def require_file(path: Path | None) -> None:
    """DataError where a file could not be written, before the work whose result it is to hold."""
    if path is None or str(path) == "-":
        return
    parent = path.absolute().parent
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file to write", hint="name a file, for instance in it")
    if not parent.is_dir():
        raise DataError(f"cannot write {path}: there is no folder {parent}", hint="make it first")
    if not os.access(parent, os.W_OK):
        raise DataError(f"cannot write {path}: the folder {parent} is not yours to write to")


def write_file(path: Path, text: str, *, quiet: bool) -> None:
    """Write a text, whole or not at all, and say where."""
    from shortlist.data.download import write_atomic

    write_atomic(path, text.encode())
    note(f"wrote {path}", quiet=quiet)


def require_free(path: Path, *, force: bool, sign: str) -> None:
    """DataError where `path` is taken by something that must not be replaced (see `new_folder`); BundleError
    where the journal of a bundle there holds operations."""
    if not path.exists():
        return
    if not path.is_dir():
        raise DataError(f"{path} exists and is a file", hint="give another folder with --output")
    if not any(path.iterdir()):
        return
    if not force:
        raise DataError(f"{path} exists already", hint="give another --output, or replace it with --force")
    if not (path / sign).is_file():
        raise DataError(
            f"{path} holds no {sign}, so this command did not write it and will not replace it",
            hint="give another --output",
        )
    _require_no_operations(path)


def _require_no_operations(path: Path) -> None:
    from shortlist.bundle.journals import require_no_operations

    require_no_operations(path)
