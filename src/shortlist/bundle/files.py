"""The files of a bundle: which there are, whether each is whole, and that none lies elsewhere."""

from __future__ import annotations

import mmap
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path, PurePosixPath, PureWindowsPath

from shortlist.bundle.manifest import AGAIN, MANIFEST, File
from shortlist.errors import BundleCorrupted

LIVE = "live"
"""The folder of changes made since a bundle was written, which its manifest does not list."""

_LARGE = 1 << 26  # bytes of files that more than one thread is worth


def walk(folder: Path) -> Iterator[str]:
    """All that lies below a bundle but its folders, as sorted relative paths with "/"; what is hidden and
    live/ are left out. A link to a folder is given as a file is, and not followed."""
    yield from sorted(_below(folder, ""))


def _below(folder: Path, beside: str) -> Iterator[str]:
    with os.scandir(folder / beside) as entries:
        for entry in entries:
            name = beside + entry.name
            if entry.name.startswith(".") or name == LIVE:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _below(folder, f"{name}/")
            else:
                yield name


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


def content_of(path: Path, expected: File) -> bytes:
    """What a file holds; BundleCorrupted where that is not what the manifest lists."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleCorrupted(f"{path} cannot be read: {error}", hint=AGAIN) from error
    require_same(path, content, expected)
    return content


def require_same(path: Path, content: bytes | mmap.mmap, expected: File) -> None:
    """BundleCorrupted where the content that was read of a file is not what the manifest lists."""
    if File(len(content), sha256(content).hexdigest()) != expected:
        raise BundleCorrupted(f"{path} was altered: its sha256 is not the manifest's", hint=AGAIN)


def copy_listed(folder: Path, files: Mapping[str, File], below: str, target: Path) -> None:
    """Copy the files that the manifest lists below a folder of a bundle, and nothing else, to a new folder.

    Raises BundleCorrupted where one is not, at the moment it is copied, what the manifest lists.
    """
    target.mkdir()
    for name, expected in files.items():
        if name.startswith(f"{below}/"):
            place = target / name.removeprefix(f"{below}/")
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(folder / name, place)
            except OSError as error:
                raise BundleCorrupted(f"{folder / name} cannot be copied: {error}", hint=AGAIN) from error
            if described(place) != expected:
                raise BundleCorrupted(f"{folder / name} was altered or replaced", hint=AGAIN)


def require_files(folder: Path, files: Mapping[str, File], *, content: bool = True) -> None:
    """Check every file against the manifest, and that there are no others.

    Raises BundleCorrupted naming the first that is wrong, and saying how many more there are.
    """
    inside, homes = os.path.realpath(folder), dict[str, str]()
    for name in files:
        if not _is_inside(inside, name, homes):
            raise BundleCorrupted(
                f"{folder / MANIFEST} names the file {name!r}, which lies outside of the bundle"
            )
    wrong = list(_wrong(folder, files, content=content))
    if wrong:
        more = f" (and {len(wrong) - 1} more files are not as they were)" if len(wrong) > 1 else ""
        raise BundleCorrupted(f"{wrong[0]}{more}", hint=wrong[0].hint)


def _wrong(folder: Path, files: Mapping[str, File], *, content: bool) -> Iterator[BundleCorrupted]:
    def fault(name: str) -> BundleCorrupted | None:
        try:
            require_whole(folder / name, files[name], content=content)
        except BundleCorrupted as error:
            return error
        return None

    if content and sum(file.bytes for file in files.values()) > _LARGE:
        with ThreadPoolExecutor(2) as pool:  # checksums are computed beside the interpreter
            faults = list(pool.map(fault, files))
    else:
        faults = list(map(fault, files))
    yield from filter(None, faults)
    for name in walk(folder):
        if name not in files and name != MANIFEST:
            yield BundleCorrupted(
                f"{folder / name} is not in the manifest", hint="remove it, or get a fresh copy"
            )


def _is_inside(folder: str, name: str, homes: dict[str, str]) -> bool:
    """Whether a name is a plain relative path that leads, links followed, to a place in the folder, which has
    none in its own path. homes: where folders of names before this one are."""
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
    if not plain:
        return False
    above, _, last = name.rpartition("/")
    if above not in homes:
        homes[above] = os.path.realpath(os.path.join(folder, above))
    place = os.path.join(homes[above], last)
    if os.path.islink(place):
        place = os.path.realpath(place)
    return place.startswith(os.path.join(folder, ""))


def digest_of(files: Mapping[str, File], names: Iterable[str], *more: object) -> str:
    """sha256 (hex) over the checksums of some files and further plain values."""
    listed = [(name, files[name].sha256) for name in sorted(names)]
    return sha256(repr((listed, more)).encode()).hexdigest()
