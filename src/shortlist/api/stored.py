"""Training rows that were encoded into a folder: what `fit` takes in place of a split."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from shortlist._typing import Array
from shortlist.api.preparing import Prepared
from shortlist.data.splits import Split
from shortlist.data.vocabulary import Vocabulary
from shortlist.errors import DataError, SpecError, did_you_mean
from shortlist.features.batches import Catalogue
from shortlist.features.encoder import Encoder, Side
from shortlist.features.fitted import Fitted
from shortlist.features.store import StoreWriter, open_store
from shortlist.specs.features import FeatureSpec
from shortlist.specs.models import Model, Tower
from shortlist.state.seen import Seen
from shortlist.state.storage import load_columns, load_json, save_columns, save_json

LEAKS = "unknown: the rows were chosen before they were encoded"
_LEARNED = {"dim", "dropout", "l2", "scale"}
"""What a feature declares of its table, not of its encoding."""
_AGAIN = "encode the data again"


@dataclass(frozen=True)
class Stored:
    """Encoded training rows in a folder, opened: arrays are read from disk where they are used.

    prepared: what training reads. split: the users' and items' tables and the validation rows; its `train`
    has no rows.
    """

    folder: Path
    prepared: Prepared = field(repr=False)
    split: Split = field(repr=False)

    def __len__(self) -> int:
        return len(self.prepared.examples)

    @classmethod
    def open(cls, folder: str | Path) -> Stored:
        """A folder that `shortlist.encode` wrote. Raises DataError, naming the file, where it is damaged."""
        folder = Path(folder)
        store = open_store(folder)
        encoder = Encoder.from_dict(_read(folder / "encoder.json", load_json))
        if encoder.content_hash != store.encoder_hash:
            raise DataError(f"{folder / 'encoder.json'} is not the encoder of the rows", hint=_AGAIN)
        own = store.arrays
        seen = Seen(own["known_indptr"].astype(np.int64), own["known_items"])
        prepared = Prepared(
            encoder,
            store.examples,
            Catalogue(store.group("items"), own["log_q"], own["known_indptr"], own["known_items"]),
            Vocabulary.of(_read(folder / "users.json", load_json)),
            seen,
            own.get("times"),
            _read(folder / "queries", load_columns),
            _read(folder / "items", load_columns),
        )
        return cls(folder, prepared, _split(folder, len(prepared.examples)))

    def prepared_for(self, model: Model) -> Prepared:
        """What training of this model reads. It may leave features out, and give tables other widths.

        Raises SpecError for a feature or a label that was not encoded, or was declared otherwise.
        """
        own = self.prepared
        encoder = Encoder(
            _side("query", model.query, own.encoder.query),
            _side("candidate", model.candidate, own.encoder.candidate),
        )
        for head in model.heads:
            if head.label not in own.examples.labels:
                raise SpecError(
                    f"{self.folder} holds no label {head.label!r}",
                    hint=did_you_mean(head.label, own.examples.labels),
                )
        query = {f.spec.key: own.examples.query[f.spec.key] for f in encoder.query.features}
        items = {f.spec.key: own.catalogue.items[f.spec.key] for f in encoder.candidate.features}
        return replace(
            own,
            encoder=encoder,
            examples=replace(own.examples, query=query),
            catalogue=replace(own.catalogue, items=items),
        )


def write_tables(
    writer: StoreWriter, prepared: Prepared, users: pl.DataFrame, items: pl.DataFrame, held: pl.DataFrame
) -> None:
    """What lies beside the encoded rows: the encoder, tables, the users' ids and some raw rows."""
    save_json(writer.folder / "encoder.json", prepared.encoder.to_dict())
    save_json(writer.folder / "users.json", prepared.users.values)
    save_columns(writer.folder / "queries", prepared.queries)
    save_columns(writer.folder / "items", prepared.items)
    for name, table in (("users", users), ("items", items), ("validation", held)):
        table.write_parquet(writer.folder / f"{name}.parquet")


def _split(folder: Path, num_rows: int) -> Split:
    tables = {
        name: _read(folder / f"{name}.parquet", pl.read_parquet) for name in ("validation", "users", "items")
    }
    nothing = tables["validation"].clear()
    return Split(
        nothing,
        tables["validation"],
        nothing,
        tables["users"],
        tables["items"],
        f"{num_rows} stored rows",
        None,
        LEAKS,
    )


def _read(path: Path, read: Any) -> Any:
    try:
        return read(path)
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path} is missing or damaged: {error}", hint=_AGAIN) from error


def _side(name: str, tower: Tower, side: Side) -> Side:
    known = {f.spec.key: f for f in side.features}
    return Side(tuple(_respecified(name, spec, known) for spec in tower.features))


def _respecified(side: str, spec: FeatureSpec, known: dict[str, Any]) -> Fitted:
    """The fitted feature with the declaration of this model."""
    fitted = known.get(spec.key)
    if fitted is None:
        raise SpecError(
            f"the stored rows hold no {side} feature {type(spec).__name__}({spec.column!r})",
            hint=did_you_mean(spec.key, known),
        )
    if _encoding(spec) != _encoding(fitted.spec):
        raise SpecError(
            f"the stored rows were encoded with {fitted.spec}, the model declares {spec}", hint=_AGAIN
        )
    changed: Fitted = replace(fitted, spec=spec)
    return changed


def _encoding(spec: FeatureSpec) -> dict[str, Array]:
    return {name: value for name, value in spec.to_dict().items() if name not in _LEARNED}
