"""Bundles that were damaged, or made to harm: what is wrong is named, and nothing of it is followed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from shortlist import bundle
from shortlist.bundle import Part
from shortlist.bundle.manifest import digest
from shortlist.bundle.protobuf import references
from shortlist.errors import BundleCorrupted, BundleError, BundleVersion
from shortlist.pipeline.recommender import Recommender
from shortlist.specs.features import Bucket, Id
from shortlist.specs.models import Tower, TwoTower

Made = tuple[Recommender, dict[str, Part]]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "message"),
    [(cut, r"has \d+ bytes, expected \d+"), (flip, "was altered"), (Path.unlink, "is missing")],
)
def test_every_file_is_checked(copy: Path, harm: Callable[[Path], None], message: str) -> None:
    names = {p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file()}
    assert {"model/weights.bin", "recommend.onnx", "MODEL_CARD.md", "items/ids.json"} <= names
    for name in names - {"manifest.json"}:
        intact = (copy / name).read_bytes()
        harm(copy / name)
        with pytest.raises(BundleCorrupted, match=message) as caught:
            bundle.load(copy)
        assert str(copy / name) in str(caught.value)
        (copy / name).write_bytes(intact)
    bundle.load(copy)


def test_files_of_a_large_bundle_are_checked_side_by_side(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And told in the manifest's order."""
    names = list(json.loads((copy / "manifest.json").read_bytes())["files"])
    flip(copy / names[-1])
    flip(copy / names[0])
    told = []
    for large in (1 << 40, 0):
        monkeypatch.setattr("shortlist.bundle.files._LARGE", large)
        with pytest.raises(BundleCorrupted) as caught:
            bundle.load(copy)
        told.append(str(caught.value))
    assert told[0] == told[1] and names[0] in told[0] and "1 more files" in told[0]


def edit(path: Path, change: Callable[[dict[str, Any]], Any], *, forge: bool = False) -> None:
    """Change a manifest; forging it makes its digest fit."""
    plain = json.loads((path / "manifest.json").read_bytes())
    change(plain)
    if forge:
        plain["digest"] = digest(plain)
    (path / "manifest.json").write_text(json.dumps(plain))


def test_an_altered_manifest_is_noticed(copy: Path) -> None:
    edit(copy, lambda m: m["pipeline"]["utility"].update(rating_weight=5.0))
    with pytest.raises(BundleCorrupted, match=r"manifest.json was altered"):
        bundle.load(copy)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 1}', '{"format": "1"}', "\xff", "[" * 99_999, "NaN"]
)
def test_an_unreadable_manifest_is_named(copy: Path, text: str) -> None:
    (copy / "manifest.json").write_text(text, "latin-1")
    with pytest.raises(BundleCorrupted, match=r"manifest.json cannot be read"):
        bundle.load(copy)


def test_what_a_later_version_adds_is_ignored(copy: Path) -> None:
    edit(copy, lambda m: m.update(later="more"), forge=True)
    bundle.load(copy)


@pytest.mark.parametrize("number", [0, -5])
def test_a_format_there_never_was_is_damage(copy: Path, number: int) -> None:
    edit(copy, lambda m: m.update(format=number), forge=True)
    with pytest.raises(BundleCorrupted, match=f"names the format {number}"):
        bundle.load(copy)


@pytest.mark.parametrize("number", [3, 10**30])
def test_a_newer_format_is_refused(copy: Path, number: int) -> None:
    edit(copy, lambda m: m.update(format=number, something="new"))
    with pytest.raises(BundleVersion, match=f"format {number}, newer than 2") as caught:
        bundle.load(copy)
    assert "newer Shortlist" in caught.value.hint


def test_a_newer_minor_format_is_read(copy: Path) -> None:
    edit(copy, lambda m: m.update(minor=7, something="new"), forge=True)
    assert len(bundle.load(copy).recommend("3", k=4)) == 4


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("sizes", "items"), -1),
        (("files", "items/ids.json", "bytes"), "many"),
        (("files", "items/ids.json"), None),
        (("files",), []),
        (("parts", "model", "graphs"), ["query"]),
        (("parts", "model", "encoder"), 5),
        (("pipeline", "num_retrieved"), 0),
        (("pipeline", "num_retrieved"), 1.5),
        (("pipeline", "utility", "rating_weight"), "much"),
        (("pipeline", "seen_as_of"), "tomorrow"),
        (("request",), {}),
        (("provenance",), None),
        (("recommend", "graph"), "recommend.onnx"),
    ],
)
def test_values_of_another_type_are_named(copy: Path, place: tuple[str, ...], value: Any) -> None:
    def change(plain: Any) -> None:
        for name in place[:-1]:
            plain = plain[name]
        plain[place[-1]] = value

    edit(copy, change, forge=True)
    with pytest.raises(BundleCorrupted, match=r"manifest.json cannot be read: .*\$\." + place[0]):
        bundle.load(copy)


def test_a_size_beyond_all_numbers_is_a_wrong_one(copy: Path) -> None:
    edit(copy, lambda m: m["files"]["items/ids.json"].update(bytes=10**40), forge=True)
    with pytest.raises(BundleCorrupted, match=rf"ids.json has \d+ bytes, expected {10**40}"):
        bundle.load(copy)


@pytest.mark.parametrize("value", [{}, {"query": 3}, {"query": {}, "candidate": {"x": "y"}, "sizes": []}])
def test_a_schema_that_is_none_is_told(copy: Path, value: Any) -> None:
    edit(copy, lambda m: m.update(schema=value), forge=True)
    with pytest.raises(BundleCorrupted):
        bundle.verify(copy)


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/hostname", "items/../../secret", "..\\secret", "link/secret", "link", "c:/secret"],
)
def test_no_path_leads_out(copy: Path, name: str) -> None:
    secret = copy.parent / "secret"
    secret.write_text("s")
    (copy / "link").symlink_to(copy.parent)
    entry = {"bytes": 1, "sha256": sha256(b"s").hexdigest()}
    edit(copy, lambda m: m["files"].update({name: entry}), forge=True)
    with pytest.raises(BundleCorrupted, match="lies outside of the bundle"):
        bundle.load(copy)


@pytest.mark.parametrize(
    "name", ["live/secret", "items//ids.json", "./MODEL_CARD.md", "", "manifest.json", "items/\0", "items/.."]
)
def test_names_are_plain_paths_of_what_is_hashed(copy: Path, name: str) -> None:
    edit(copy, lambda m: m["files"].update({name: m["files"]["items/ids.json"]}), forge=True)
    with pytest.raises(BundleCorrupted, match="lies outside of the bundle"):
        bundle.load(copy)


def test_an_unlisted_file_is_refused(copy: Path) -> None:
    (copy / "items" / "extra.npy").write_bytes(b"x")
    with pytest.raises(BundleCorrupted, match=r"extra.npy is not in the manifest"):
        bundle.load(copy)
    (copy / "items" / "extra.npy").unlink()
    (copy / ".DS_Store").write_bytes(b"x")
    bundle.load(copy)


def test_pickles_are_never_read(copy: Path) -> None:
    drop_recommend(copy)
    path = copy / "items" / "log_popularity.npy"
    np.save(path, np.array([partial(print, "pwned")], object), allow_pickle=True)
    forge(copy, "items/log_popularity.npy")
    with pytest.raises(BundleCorrupted, match=r"log_popularity.npy holds no array of numbers"):
        bundle.load(copy)


@pytest.mark.parametrize(
    "header",
    ["{'descr': '<f8', 'fortran_order': (", "{'descr': '<f8'}", "{'a': 1, 2}", "9" * 20_000],
)
def test_an_array_with_another_header_is_told(copy: Path, header: str) -> None:
    drop_recommend(copy)
    start = b"\x93NUMPY\x01\x00" + min(len(header), 65_535).to_bytes(2, "little")
    (copy / "items" / "log_popularity.npy").write_bytes(start + header.encode() + bytes(480))
    forge(copy, "items/log_popularity.npy")
    with pytest.raises(BundleCorrupted):
        bundle.load(copy)


def forge(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    entry = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
    edit(copy, lambda m: m["files"].update({name: entry}), forge=True)


def test_a_graph_of_another_encoder_is_refused(copy: Path, make_bundle: Callable[..., Made]) -> None:
    towers = Tower((Bucket("timestamp", 3, 2),), out=2), Tower((Id("item_id", 2),), out=2)
    other = make_bundle({"retrieval": TwoTower(*towers)})[1]["retrieval"]
    assert not references(other.graphs["query"]), "it is so small that it holds its weights"
    (copy / "model" / "query.onnx").write_bytes(other.graphs["query"])
    forge(copy, "model/query.onnx")
    with pytest.raises(BundleCorrupted, match=r"query.onnx: this graph was made for another encoder"):
        bundle.load(copy).recommend("3")
    with pytest.raises(BundleCorrupted):
        bundle.verify(copy)


def drop_recommend(copy: Path) -> None:
    (copy / "recommend.onnx").unlink()
    edit(copy, lambda m: (m["files"].pop("recommend.onnx"), m.update(recommend={})), forge=True)


def test_a_graph_that_is_none_is_named(copy: Path) -> None:
    (copy / "model" / "lists.onnx").write_bytes(b"not a graph")
    forge(copy, "model/lists.onnx")
    with pytest.raises(BundleCorrupted, match=r"model/lists.onnx: ONNX Runtime cannot open"):
        bundle.load(copy).recommend("3")


@pytest.mark.parametrize("harm", [shutil.rmtree, lambda p: (p / "manifest.json").unlink()])
def test_no_bundle_at_all(copy: Path, harm: Callable[[Path], None]) -> None:
    harm(copy)
    with pytest.raises(BundleError, match=r"is no bundle: there is no manifest.json in it"):
        bundle.load(copy)


# Graphs that read other files


def place_of_weights(copy: Path, name: str, **changes: str) -> None:
    """Let the first tensor of a graph that lies elsewhere lie in another place."""
    model = onnx.load(copy / name, load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.external_data)
    for entry in tensor.external_data:
        entry.value = changes.get(entry.key, entry.value)
    (copy / name).write_bytes(model.SerializeToString())
    forge(copy, name)


@pytest.mark.parametrize("name", ["model/query.onnx", "recommend.onnx"])
@pytest.mark.parametrize(
    "location", ["../secret", "/etc/hostname", "link", "../copy/model/weights.bin", "", "manifest.json"]
)
def test_no_graph_reads_a_file_it_should_not(copy: Path, name: str, location: str) -> None:
    (copy.parent / "secret").write_bytes(bytes(99_999))
    (copy / name).parent.joinpath("link").symlink_to(copy.parent / "secret")
    place_of_weights(copy, name, location=location)
    with pytest.raises(BundleCorrupted, match=r"reads weights from|is not in the manifest|outside"):
        bundle.load(copy)
    (copy / name).parent.joinpath("link").unlink()
    with pytest.raises(BundleCorrupted, match=r"reads weights from"):
        bundle.load(copy)


@pytest.mark.parametrize("changes", [{"offset": "99999999"}, {"length": "99999999"}, {"offset": "-64"}])
def test_no_graph_reads_behind_the_end(copy: Path, changes: dict[str, str]) -> None:
    place_of_weights(copy, "model/query.onnx", **changes)
    with pytest.raises(BundleCorrupted, match=r"query.onnx reads weights behind the end of weights.bin"):
        bundle.load(copy)


def test_a_number_that_is_none_is_told(copy: Path) -> None:
    place_of_weights(copy, "model/query.onnx", offset="x" * 9)
    with pytest.raises(BundleCorrupted, match=r"query.onnx is no ONNX graph"):
        bundle.load(copy)


# What only `verify` finds: files of the right checksums that do not belong together


def change_array(copy: Path, name: str, change: Callable[[Any], Any]) -> None:
    np.save(copy / name, change(np.load(copy / name)))
    forge(copy, name)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("items/item_vectors.npy", lambda a: a[:-1]),
        ("items/item_representations.npy", lambda a: a.astype(np.int32)),
        ("items/item_vectors.npy", lambda a: a * np.nan),
        ("items/log_popularity.npy", lambda a: a[:5]),
        ("users/seen_indptr.npy", lambda a: a[::-1].copy()),
        ("users/seen_indptr.npy", lambda a: a[:-1]),
        ("users/seen_indices.npy", lambda a: a + 60),
        ("users/columns/0.npy", lambda a: a[:3]),
        ("items/item_vectors.npy", np.asfortranarray),
        ("items/item_vectors.npy", lambda a: a[::-1].copy()),
        ("items/item_representations.npy", lambda a: a[::-1].copy()),
        ("items/item_representations.npy", lambda a: a.astype(">f4")),
        ("users/seen_indices.npy", lambda a: a[::-1].copy()),
    ],
)
def test_arrays_that_do_not_fit_are_named(copy: Path, name: str, change: Callable[[Any], Any]) -> None:
    change_array(copy, name, change)
    with pytest.raises(BundleCorrupted) as caught:
        bundle.verify(copy)
    assert name.rpartition("/")[0] in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["parts"]["model"]["graphs"]["query"].update(outputs=[]), "query.onnx has other outputs"),
        (lambda m: m["parts"]["model"]["graphs"]["query"].update(opsets={"": 9}), "uses other operators"),
        (lambda m: m["recommend"]["graph"].update(inputs=[]), "recommend.onnx has other inputs"),
        (lambda m: m["recommend"].update(made_of="00"), "was made of other graphs or items"),
        (lambda m: m["sizes"].update(items=7), "says sizes"),
        (lambda m: m.update(size=7), "says size 7"),
        (lambda m: m["index"].update(kind="ann"), "says index"),
        (lambda m: m.update(request=[]), "says request"),
    ],
)
def test_what_a_manifest_says_is_compared(copy: Path, change: Callable[[Any], Any], message: str) -> None:
    edit(copy, change, forge=True)
    bundle.load(copy)
    with pytest.raises(BundleCorrupted, match=message):
        bundle.verify(copy)


@pytest.mark.parametrize("lacking", ["query", "candidate", "pairs", "lists"])
def test_a_model_that_ranks_has_its_graphs(copy: Path, lacking: str) -> None:
    def change(manifest: Any) -> None:
        del manifest["parts"]["model"]["graphs"][lacking], manifest["files"][f"model/{lacking}.onnx"]

    (copy / "model" / f"{lacking}.onnx").unlink()
    edit(copy, change, forge=True)
    with pytest.raises(BundleError, match=f"no graph '{lacking}'"):
        bundle.load(copy)


def test_a_graph_of_all_that_answers_otherwise_is_noticed(copy: Path) -> None:
    path = copy / "recommend.onnx"
    model = onnx.load(path, load_external_data=False)
    ids = next(t for t in model.graph.initializer if len(t.string_data) >= 60)
    turned = list(ids.string_data)[::-1]
    ids.ClearField("string_data")
    ids.string_data.extend(turned)
    path.write_bytes(model.SerializeToString())
    forge(copy, "recommend.onnx")
    with pytest.raises(BundleCorrupted, match=r"recommend.onnx answers user '0' with other items"):
        bundle.verify(copy)


def test_weights_that_gave_other_vectors_are_noticed(copy: Path) -> None:
    drop_recommend(copy)
    content = np.frombuffer((copy / "model" / "weights.bin").read_bytes(), np.float32)
    (copy / "model" / "weights.bin").write_bytes((content * np.float32(1.3)).tobytes())
    forge(copy, "model/weights.bin")
    with pytest.raises(BundleCorrupted, match=r"item_vectors.npy holds other numbers than candidate.onnx"):
        bundle.verify(copy)


@pytest.mark.parametrize("value", ["later", 1.5, [1], True, 10**25])
def test_a_time_that_is_none_is_told(copy: Path, value: Any) -> None:
    (copy / "users" / "as_of.json").write_text(json.dumps(value))
    forge(copy, "users/as_of.json")
    with pytest.raises(BundleCorrupted, match=r"as_of.json holds"):
        bundle.load(copy)


@pytest.mark.parametrize("name", ["items/ids.json", "items/columns/columns.json", "model/encoder.json"])
def test_endless_nesting_is_told(copy: Path, name: str) -> None:
    (copy / name).write_text("[" * 99_999)
    forge(copy, name)
    with pytest.raises(BundleCorrupted, match=rf"{name} cannot be read: |recursion"):
        bundle.verify(copy)


@pytest.mark.parametrize("value", [1, None])
def test_texts_are_texts(copy: Path, value: Any) -> None:
    path = copy / "items" / "columns" / "columns.json"
    listed = json.loads(path.read_bytes())
    titles = next(column for column in listed if column["name"] == "title")
    titles["text"] = [value] * len(titles["text"])
    path.write_text(json.dumps(listed))
    forge(copy, "items/columns/columns.json")
    with pytest.raises(BundleCorrupted, match=r"columns.json cannot be read: Expected `str \| array`"):
        bundle.load(copy)


def test_ids_that_are_there_twice_are_told(copy: Path) -> None:
    ids = json.loads((copy / "items" / "ids.json").read_bytes())
    (copy / "items" / "ids.json").write_text(json.dumps([ids[0], *ids[:-1]]))
    forge(copy, "items/ids.json")
    with pytest.raises(BundleCorrupted, match=ids[0]):
        bundle.load(copy)


def test_weights_of_another_model_are_noticed(copy: Path) -> None:
    """Those of the graphs are there, but the item vectors are not theirs."""
    content = (copy / "model" / "weights.bin").read_bytes()
    (copy / "model" / "weights.bin").write_bytes(np.full(len(content) // 4, np.nan, np.float32).tobytes())
    forge(copy, "model/weights.bin")
    bundle.load(copy)
    with pytest.raises(BundleCorrupted, match=r"\.onnx gives \w+ that is not finite"):
        bundle.verify(copy)


def test_several_damaged_files_are_counted(copy: Path) -> None:
    for name in ("items/ids.json", "model/weights.bin", "users/ids.json"):
        flip(copy / name)
    with pytest.raises(BundleCorrupted, match=r"and 2 more files are not as they were"):
        bundle.load(copy)
