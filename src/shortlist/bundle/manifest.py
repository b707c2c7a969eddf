"""manifest.json: what a bundle says of itself, and how its words are read."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from shortlist.errors import BundleCorrupted, BundleError, BundleVersion

FORMAT, MINOR = 2, 0
"""A bundle of a newer format is refused; of a newer minor one, what is not known is ignored."""
MANIFEST = "manifest.json"
CARD = "MODEL_CARD.md"
AGAIN = "save or copy the bundle again"

Count = Annotated[int, msgspec.Meta(ge=0)]


class File(msgspec.Struct, frozen=True):
    """Size and sha256 (hex) of a file."""

    bytes: Count
    sha256: str


class Tensor(msgspec.Struct, frozen=True):
    """An input or output of a graph; sizes that vary have names."""

    name: str
    type: str
    shape: list[int | str | None]


class Graph(msgspec.Struct, frozen=True):
    """How a graph is asked. opsets: versions of ONNX's operators by domain; operators: those of other
    domains than ONNX's own, which a runtime must know too."""

    inputs: list[Tensor]
    outputs: list[Tensor]
    opsets: dict[str, int] = {}
    operators: dict[str, list[str]] = {}


class PartFacts(msgspec.Struct, frozen=True):
    """A trained model. encoder: content hash of its encoder."""

    encoder: str
    graphs: dict[str, Graph]


class Order(msgspec.Struct, frozen=True):
    """log p + rating_weight * head."""

    rating_weight: float
    head: str


class Pipeline(msgspec.Struct, frozen=True):
    """How many items are retrieved, how they are ordered, and what is added to those the user had before."""

    num_retrieved: Annotated[int, msgspec.Meta(ge=1)]
    utility: Order
    seen_bonus: float = 0.0
    seen_as_of: Literal["row", "leave-one-out"] = "row"


class Recommend(msgspec.Struct, frozen=True, omit_defaults=True):
    """The graph recommend.onnx, or why it was left out. made_of: digest of what it was made of."""

    graph: Graph | None = None
    made_of: str = ""
    left_out: str = ""


class Manifest(msgspec.Struct, frozen=True):
    """What manifest.json holds. digest: sha256 over all the rest. size: bytes of all files."""

    format: int
    created: str
    shortlist: str
    request: list[dict[str, Any]]
    schema: dict[str, Any]
    parts: dict[str, PartFacts]
    pipeline: Pipeline
    sizes: dict[str, Count]
    provenance: dict[str, Any]
    files: dict[str, File]
    minor: int = 0
    size: Count = 0
    versions: dict[str, str] = {}
    licence: dict[str, str] = {}
    index: dict[str, Any] | None = None
    recommend: Recommend = Recommend()
    digest: str = ""


def encode(manifest: Manifest) -> bytes:
    """The text of manifest.json, its digest filled in."""
    plain = msgspec.to_builtins(manifest)
    text = msgspec.json.encode({**plain, "digest": digest(plain)}, order="sorted")
    return msgspec.json.format(text, indent=2)


def digest(plain: dict[str, Any]) -> str:
    """sha256 (hex) over a manifest's plain values, its digest left out."""
    return sha256(msgspec.json.encode({**plain, "digest": ""}, order="sorted")).hexdigest()


def read(folder: Path) -> Manifest:
    """The manifest of a bundle. BundleError where there is none, BundleVersion for one of a newer format,
    BundleCorrupted for one that cannot be read or was altered."""
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"{folder} is no bundle: there is no {MANIFEST} in it", hint="give the folder of a bundle"
        )
    try:
        plain = msgspec.json.decode(path.read_bytes())
        _require_known(folder, plain)
        manifest = msgspec.convert(plain, Manifest)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise BundleCorrupted(f"{path} cannot be read: {error}", hint=AGAIN) from error
    if manifest.digest != digest(plain):
        raise BundleCorrupted(f"{path} was altered", hint=AGAIN)
    return manifest


def _require_known(folder: Path, plain: Any) -> None:
    number = plain.get("format") if isinstance(plain, dict) else None
    if not isinstance(number, int):
        return
    if number > FORMAT:
        raise BundleVersion(
            f"{folder} has the format {number}, newer than {FORMAT}, the newest known here",
            hint="load it with a newer Shortlist",
        )
    if number < 1:
        raise BundleCorrupted(
            f"{folder / MANIFEST} names the format {number}, which there is not", hint=AGAIN
        )


def looks_like_one(path: Path) -> bool:
    """Whether a file is a manifest of ours, of whatever version."""
    try:
        plain = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return False
    return isinstance(plain, dict) and {"format", "shortlist", "digest"} <= set(plain)
