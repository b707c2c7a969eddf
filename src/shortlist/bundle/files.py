"""The files of a bundle: which there are, whether each is whole, and that none lies elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath, PureWindowsPath

from shortlist.bundle.manifest import AGAIN, MANIFEST, File
from shortlist.errors import BundleCorrupted

LIVE = "live"
"""The folder of changes made since a bundle was written, which its manifest does not list."""


def walk(folder: Path) -> Iterator[str]:
    """Files below a bundle as sorted relative paths with "/"; hidden ones and live/ are left out."""
    names = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    kept = (n for n in names if n.parts[0] != LIVE and not any(part.startswith(".") for part in n.parts))
    yield from sorted(n.as_posix() for n in kept)


def described(path: Path) -> File:
    """Size and sha256 of a file."""
    digest, size = sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return File(size, digest.hexdigest())


def require_whole(path: Path, expected: File, *, content: bool = True) -> None:
    """BundleCorrupted where a file is missing or has another size or, if looked at, another content."""
    if not path.is_file():
        raise BundleCorrupted(f"{path} is missing", hint=AGAIN)
    size = path.stat().st_size
    if size != expected.bytes:
        raise BundleCorrupted(f"{path} has {size} bytes, expected {expected.bytes}", hint=AGAIN)
    if content and described(path) != expected:
        raise BundleCorrupted(f"{path} was altered: its sha256 is not the manifest's", hint=AGAIN)


def require_files(folder: Path, files: Mapping[str, File], *, content: bool = True) -> None:
    """Check every file against the manifest, and that there are no others.

    Raises BundleCorrupted naming the first that is wrong, and saying how many more there are.
    """
    inside = folder.resolve()
    for name in files:
        if not _is_inside(inside, name):
            raise BundleCorrupted(
                f"{folder / MANIFEST} names the file {name!r}, which lies outside of the bundle"
            )
    wrong = list(_wrong(folder, files, content=content))
    if wrong:
        more = f" (and {len(wrong) - 1} more files are not as they were)" if len(wrong) > 1 else ""
        raise BundleCorrupted(f"{wrong[0]}{more}", hint=wrong[0].hint)


def _wrong(folder: Path, files: Mapping[str, File], *, content: bool) -> Iterator[BundleCorrupted]:
    for name, expected in files.items():
        try:
            require_whole(folder / name, expected, content=content)
        except BundleCorrupted as error:
            yield error
    for name in walk(folder):
        if name not in files and name != MANIFEST:
            yield BundleCorrupted(
                f"{folder / name} is not in the manifest", hint="remove it, or get a fresh copy"
            )


def _is_inside(folder: Path, name: str) -> bool:
    """Whether a name is a plain relative path that leads, links followed, to a place in the folder."""
    pure = PurePosixPath(name)
    plain = (
        bool(pure.parts)
        and str(pure) == name
        and not pure.is_absolute()
        and ".." not in pure.parts
        and pure.parts[0] != LIVE
        and name != MANIFEST
        and not {"\\", "\0"} & set(name)
        and not PureWindowsPath(name).drive
    )
    return plain and (folder / name).resolve().is_relative_to(folder)


def digest_of(files: Mapping[str, File], names: Iterable[str], *more: object) -> str:
    """sha256 (hex) over the checksums of some files and further plain values."""
    listed = [(name, files[name].sha256) for name in sorted(names)]
    return sha256(repr((listed, more)).encode()).hexdigest()
