"""Recommends from a Shortlist bundle with NumPy and ONNX Runtime alone; Shortlist is not needed.

python onnxruntime_only.py BUNDLE --user 42 --user 7 -k 10
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

MISSING_INT = np.iinfo(np.int64).min
PAUSE = 1800  # seconds without an event that end a session
SHRINK = 5.0  # ratings of the mean that every item is thought to have had already
LISTS = {"strings": (object, ""), "ints": (np.int64, MISSING_INT), "floats": (np.float64, np.nan)}
VALUES = {"string": (object, ""), "int": (np.int64, MISSING_INT), "float": (np.float64, np.nan)}


class Bundle:
    """What a bundle holds of items and users, and the graph that recommends."""

    def __init__(self, path: Path) -> None:
        folder = path if (path / "manifest.json").is_file() else path / "bundle"
        if not (folder / "manifest.json").is_file():
            raise SystemExit(f"{path} is no bundle: there is no manifest.json in it, nor in {folder}")
        self.manifest = read_json(folder / "manifest.json")
        reason = self.manifest.get("recommend", {}).get("left_out")
        if reason:
            raise SystemExit(f"{folder} has no recommend.onnx: {reason}")
        users = folder / "users"
        self.items = np.array(read_json(folder / "items" / "ids.json"), object)
        self.users = {user: row for row, user in enumerate(read_json(users / "ids.json"))}
        self.columns = read_columns(users / "columns")
        self.as_of = read_json(users / "as_of.json")
        self.seen = np.load(users / "seen_indptr.npy"), np.load(users / "seen_indices.npy")
        self.past = Past(users / "past", self.items) if (users / "past").is_dir() else None
        self.session = onnxruntime.InferenceSession(folder / "recommend.onnx")

    def recommend(self, user: str, k: int = 10, timestamp: int | None = None) -> list[dict[str, Any]]:
        """A user's k items, best first."""
        names = [output.name for output in self.session.get_outputs()]
        answer = self.session.run(names, self.inputs(user, k, timestamp))
        columns = dict(zip(names, (x[0].tolist() for x in answer), strict=True))
        rows = [{name: columns[name][rank] for name in names} for rank in range(len(columns["item_id"]))]
        return [row for row in rows if row["item_id"]]

    def inputs(self, user: str, k: int, timestamp: int | None) -> dict[str, Any]:
        """The graph's inputs for one user, from what is given and what the bundle holds."""
        row = self.users.get(user, -1)
        if timestamp is None:
            timestamp = self.stored("timestamp", row)
        timestamp = self.as_of if timestamp is None else timestamp
        time = np.iinfo(np.int64).max // 2 if timestamp is None else timestamp  # else after all there is
        types, sizes = self.manifest["schema"]["query"], self.manifest["schema"]["sizes"]
        feeds: dict[str, Any] = {}
        for name in (declared.name for declared in self.session.get_inputs()):
            if name == "k":
                feeds[name] = np.array([k], np.int64)
            elif name == "exclude":
                feeds[name] = array("strings", self.taken(row))
            elif name == "bonus":
                assert self.past is not None
                everything = self.manifest["pipeline"]["seen_as_of"] == "leave-one-out"
                had = self.past.items[self.past.events(row, time, everything)]
                feeds[name] = array("strings", self.items[np.unique(had)])
            elif name in types:
                value = {"user_id": user, "timestamp": timestamp}.get(name)
                if value is None and self.past is not None:
                    value = self.past.derived(name, row, time, sizes.get(name, 0))
                value = self.stored(name, row) if value is None else value
                feeds[name] = array(types[name], value, sizes.get(name, 1))
            else:
                raise SystemExit(f"this example cannot make the input {name}")
        return feeds

    def taken(self, row: int) -> Any:
        """The ids of what a user took in the training rows."""
        indptr, indices = self.seen
        return self.items[indices[indptr[row] : indptr[row + 1]]] if row >= 0 else []

    def stored(self, name: str, row: int) -> Any:
        """A stored column's value of a user; None where there is none."""
        if name not in self.columns or row < 0:
            return None
        value = self.columns[name][row]
        return None if np.ndim(value) == 0 and value in ("", MISSING_INT) else value


class Past:
    """What users did: user u's events are those from indptr[u] to indptr[u + 1], by time. The columns made of
    it are those of the reference of features."""

    def __init__(self, folder: Path, ids: Any) -> None:
        about = read_json(folder / "about.json")
        self.ids, self.mean, self.timed = ids, about["mean"], about["timed"]
        self.indptr, self.items, self.times = (
            np.load(folder / f"{name}.npy") for name in ("indptr", "items", "times")
        )
        self.ratings = np.load(folder / "ratings.npy") if about["rated"] else None

    def events(self, row: int, time: int, everything: bool = False) -> Any:
        """Places of a user's events: all of them, or those at an earlier second; the latest first."""
        if row < 0:
            return np.zeros(0, np.int64)
        places = np.arange(self.indptr[row], self.indptr[row + 1])[::-1]
        return places if everything else places[self.times[places] < time]

    def firsts(self, row: int, time: int, everything: bool) -> Any:
        """Of every item, the first event the user had with it; the latest first."""
        places = self.events(row, time, everything=True)[::-1]
        first = places[np.sort(np.unique(self.items[places], return_index=True)[1])][::-1]
        return first if everything else first[self.times[first] < time]

    def nearest(self, row: int, time: int) -> Any:
        """The events nearest in time, on either side."""
        places = self.events(row, time, everything=True)[::-1]
        centre = np.searchsorted(self.times[places], time)
        steps = np.abs(np.arange(len(places)) - centre)
        return places[np.lexsort((steps, np.abs(self.times[places] - time)))]

    def residuals(self, places: Any, everything: bool) -> Any:
        """How far each rating lies above what others of its item (at an earlier second, or all) suggest."""
        out = np.zeros(len(places))
        for at, place in enumerate(places if self.ratings is not None else ()):
            others = self.items == self.items[place]
            if not everything:
                others &= self.times < self.times[place]
            total = (self.ratings[others].astype(np.float64) - self.mean).sum()
            out[at] = np.float32(self.ratings[place] - self.mean - total / (others.sum() + SHRINK))
        return out

    def derived(self, name: str, row: int, time: int, length: int) -> Any:
        """One of the derived columns; None for any other name."""
        everything = name.startswith(("nearest", "others"))
        if name in ("past_count", "past_gap", "past_span", "session_count"):
            return self.number(name, self.events(row, time), time)
        if name.startswith(("history", "nearest")):
            places = (self.nearest(row, time) if everything else self.events(row, time))[:length]
            return self.times[places] if name.endswith("_timestamp") else self.ids[self.items[places]]
        if name.startswith(("seen", "others")):
            places = self.firsts(row, time, everything)[:length]
            residual = name.endswith("_residual")
            return self.residuals(places, everything) if residual else self.ids[self.items[places]]
        return None

    def number(self, name: str, places: Any, time: int) -> int:
        if name == "past_count":
            return len(places)
        if not self.timed or not len(places):
            return 0 if name == "session_count" else MISSING_INT
        gaps = np.append(-np.diff(self.times[places], prepend=time), PAUSE + 1)
        if name == "session_count":
            return int(np.argmax(gaps > PAUSE))
        return int(time - self.times[places[0 if name == "past_gap" else -1]])


def array(kind: str, value: Any, size: int = 1) -> Any:
    """One row's value as an array of a column's type; what is missing as the model knows it."""
    if kind == "vector":
        return np.full((1, size), np.nan, np.float32) if value is None else np.asarray(value)[None]
    if kind in LISTS:
        dtype, missing = LISTS[kind]
        return np.array([missing] if value is None or not len(value) else list(value), dtype)[None]
    dtype, missing = VALUES[kind]
    return np.array([missing if value is None else value], dtype)


def read_json(path: Path) -> Any:
    """Plain values of a JSON file."""
    return json.loads(path.read_text("utf-8"))


def read_columns(folder: Path) -> dict[str, Any]:
    """Columns by name: texts as lists, numbers as arrays."""
    return {
        column["name"]: column["text"] if "text" in column else np.load(folder / column["file"])
        for column in read_json(folder / "columns.json")
    }


def main() -> None:
    """Read the command line, print shortlists."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, help="a bundle, or a run that holds one")
    parser.add_argument("--user", action="append", required=True, help="whose items; may be repeated")
    parser.add_argument("-k", type=int, default=10, help="how many items")
    parser.add_argument("--timestamp", type=int, help="when: seconds since 1970")
    parser.add_argument("--json", action="store_true", help="a line of JSON a user")
    asked = parser.parse_args()
    bundle = Bundle(asked.bundle)
    for user in asked.user:
        rows = bundle.recommend(user, asked.k, asked.timestamp)
        if asked.json:
            print(json.dumps({"user_id": user, "items": rows}))
            continue
        for rank, found in enumerate(rows, start=1):
            print(user, rank, found["item_id"], f"{found['score']:.4f}", sep="\t")


if __name__ == "__main__":
    main()
