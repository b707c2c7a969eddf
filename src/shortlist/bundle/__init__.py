"""The artefact on disk: one folder that recommends and scores through ONNX Runtime alone.

    manifest.json               what this is, how to ask it, and size and sha256 of every other file
    MODEL_CARD.md               the same for people
    model/                      a jointly trained model: query, candidate, pairs, lists and rank.onnx,
                                the weights.bin they share, encoder.json
    retrieval/, ranking/        instead of model/, where the two were trained apart (or only one was)
    recommend.onnx              optional: from a raw request to item ids in one graph
    items/, users/              ids, raw columns, vectors, seen sets
    index/                      optional: an index of the item vectors
    train/                      optional: what a warm start needs; whoever trained it knows what that is
    live/                       optional: changes made since; of no concern here

Nothing in it is executed or unpickled, and no path in it may lead out of it.
"""

from shortlist.bundle.manifest import FORMAT, File, Manifest
from shortlist.bundle.parts import GRAPHS, Part, Writer
from shortlist.bundle.reading import Taken, copy, folder_of, inspect, load, parts_of, take
from shortlist.bundle.verifying import verify
from shortlist.bundle.writing import save

__all__ = [
    "FORMAT",
    "GRAPHS",
    "File",
    "Manifest",
    "Part",
    "Taken",
    "Writer",
    "copy",
    "folder_of",
    "inspect",
    "load",
    "parts_of",
    "save",
    "take",
    "verify",
]
