"""What a warm start goes on from: a fitted model, or what its bundle keeps of its training in `train/`.

train/rows.parquet            the training rows, in order, with the columns the model reads
train/<part>/about.json       the model and its training as they were declared
train/<part>/arrays/          parameters and the optimiser's state
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import polars as pl

from shortlist import bundle
from shortlist._typing import MISSING_INT, Array, Columns
from shortlist.api.fitting import Fitted
from shortlist.api.preparing import Kept
from shortlist.data.columns import to_columns
from shortlist.errors import BundleCorrupted, BundleError, SpecError, TrainingError
from shortlist.features.encoder import Encoder
from shortlist.models.ensemble import restacked
from shortlist.pipeline.recommender import Recommender
from shortlist.specs.models import Model, ModelSpec
from shortlist.specs.spec import Spec
from shortlist.specs.training import Training
from shortlist.state.storage import load_columns, load_json, save_columns, save_json
from shortlist.training.carried import Carried, from_arrays, to_arrays

ROLES = ("user_id", "item_id", "rating", "timestamp", "weight")
ROWS = "rows.parquet"
_AGAIN = "train it again with this version, or copy the bundle again"


class About(Spec, frozen=True, kw_only=True):
    """What is declared of a part's training. widths: of each head's aggregates."""

    model: ModelSpec
    training: Training
    widths: dict[str, int] = msgspec.field(default_factory=dict)
    format: int = 1


@dataclass(frozen=True)
class Start:
    """A trained model with its training rows, and the tables of the users and items it knows.

    training: as it was declared, which a warm start does not change. provenance: of the bundle.
    """

    model: Model
    training: Training
    carried: Carried = field(repr=False)
    kept: Kept = field(repr=False)
    rows: pl.DataFrame = field(repr=False)
    users: pl.DataFrame = field(repr=False)
    items: pl.DataFrame = field(repr=False)
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, start: Fitted | str | Path, part: str = "") -> Start:
        """Of a fitted model, or of a bundle (or a run's folder).

        part: of a bundle whose two stages were trained apart, "retrieval" or "ranking". Raises TrainingError
        for a model that was fitted on rows in files, BundleError where a bundle keeps nothing to start from.
        """
        return _of_fitted(start) if isinstance(start, Fitted) else _of_bundle(Path(start), part)


def _of_fitted(fitted: Fitted) -> Start:
    split, prepared = fitted.split, fitted.prepared
    if fitted.state is None or split.train.height == 0:
        raise TrainingError(
            "there is nothing to start from: the model was fitted on rows in files",
            hint="fit a split of rows in memory",
        )
    net, tables = restacked(fitted.scorer.net, fitted.scorer.tables)
    return Start(
        fitted.model,
        fitted.base or fitted.training,
        Carried(net, tables, fitted.state),
        Kept(prepared.encoder, prepared.aggregates, 0.0 if prepared.events is None else prepared.events.mean),
        split.train.select(columns_read(fitted.model, split.train.columns)),
        canonical(split.users),
        canonical(split.items),
    )


def columns_read(model: Model, columns: Iterable[str]) -> list[str]:
    """Those of the interactions' columns that training reads."""
    read = {*ROLES, *(h.label for h in model.heads), *(f.column for f in model.features("query"))}
    return [name for name in columns if name in read]


# In a bundle


def writes(parts: Mapping[str, Fitted]) -> bool:
    """Whether there is anything a later run could start from."""
    return all(f.state is not None and f.split.train.height for f in parts.values())


def write(parts: Mapping[str, Fitted], folder: Path) -> None:
    """Write what warm starts need into a new folder; all parts were fitted on the same rows."""
    folder.mkdir()
    names = {name for f in parts.values() for name in columns_read(f.model, f.split.train.columns)}
    rows = next(iter(parts.values())).split.train
    rows.select([name for name in rows.columns if name in names]).write_parquet(folder / ROWS)
    for part, fitted in parts.items():
        (folder / part).mkdir()
        about = About(
            model=cast("ModelSpec", fitted.model),
            training=fitted.base or fitted.training,
            widths=fitted.prepared.aggregate_widths,
        )
        save_json(folder / part / "about.json", about.to_dict())
        net, tables = restacked(fitted.scorer.net, fitted.scorer.tables)
        assert fitted.state is not None
        save_columns(folder / part / "arrays", to_arrays(Carried(net, tables, fitted.state)))


def _of_bundle(path: Path, part: str) -> Start:
    recommender = bundle.load(path)
    folder = bundle.folder_of(path)
    parts = sorted(p.parent.name for p in (folder / "train").glob("*/about.json"))
    if not parts:
        raise BundleError(
            f"{folder} keeps nothing of its training: there is no train/ in it",
            hint="start from the run's own bundle, not from one exported with --serving; rows that were"
            " streamed from files are not kept",
        )
    if (part or parts[0]) not in parts or (not part and len(parts) > 1):
        raise BundleError(
            f"{folder} was trained in the parts {' and '.join(parts)}" + (f", not {part!r}" if part else ""),
            hint=f"name one, part={parts[0]!r}, and combine the two fitted models",
        )
    try:
        return _read(folder, part or parts[0], recommender)
    except (OSError, ValueError, KeyError, msgspec.MsgspecError, pl.exceptions.PolarsError) as error:
        if isinstance(error, SpecError):
            raise
        raise BundleCorrupted(f"{folder / 'train'} cannot be read: {error}", hint=_AGAIN) from error


def _read(folder: Path, part: str, recommender: Recommender) -> Start:
    about = About.from_dict(load_json(folder / "train" / part / "about.json"))
    model: Any = about.model
    encoder = Encoder.from_dict(load_json(folder / part / "encoder.json"))
    arrays = load_columns(folder / "train" / part / "arrays")
    past = recommender.users.past
    people = {n: c for n, c in recommender.users.columns.items() if n != "timestamp"}
    return Start(
        model,
        about.training,
        from_arrays(arrays, model, encoder.sizes, about.widths, about.training),
        Kept(encoder, recommender.aggregates, 0.0 if past is None else past.mean),
        pl.read_parquet(folder / "train" / ROWS),
        frame_of({"user_id": _ids(recommender.users.vocabulary.values)} | people),
        frame_of({"item_id": recommender.items.ids} | recommender.items.columns),
        recommender.provenance,
    )


def _ids(values: Iterable[Any]) -> Array:
    return np.array([*values, None], object)[:-1]


# Tables in the types that bundles keep


def canonical(frame: pl.DataFrame) -> pl.DataFrame:
    """The table with its columns in canonical types: as it comes back from a bundle."""
    return frame_of(to_columns(frame))


def frame_of(columns: Columns) -> pl.DataFrame:
    """Canonical columns as a table; what is missing is null."""
    return pl.DataFrame([_series(name, column) for name, column in columns.items()])


def _series(name: str, column: Array) -> pl.Series:
    if column.ndim == 2:
        if column.dtype.kind == "O":
            listed = [[value for value in row if value != ""] for row in column.tolist()]
            return pl.Series(name, listed, pl.List(pl.String))
        rows = [row if np.isfinite(row).all() else None for row in column.tolist()]
        return pl.Series(name, rows, pl.List(pl.Float32))
    if column.dtype.kind == "O":
        return pl.Series(name, [value or None for value in column.tolist()], pl.String)
    if column.dtype.kind == "f":
        return pl.Series(name, column).fill_nan(None)
    return pl.Series(name, column).replace(MISSING_INT, None)
