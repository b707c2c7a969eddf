"""Shortlist: two-stage deep recommenders, from a table of what people did to a ranked shortlist.

Every public name is listed here and loaded when first used: importing the package loads nothing heavy.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# ONNX Runtime since 1.29 tells its makers of processes and models, unless it finds this when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from shortlist.api.comparing import compare as compare
    from shortlist.api.encoding import encode as encode
    from shortlist.api.evaluating import evaluate as evaluate
    from shortlist.api.exporting import export_bundle as export_bundle
    from shortlist.api.fitting import Fitted as Fitted
    from shortlist.api.fitting import fit as fit
    from shortlist.api.recommending import combine as combine
    from shortlist.api.savedmodels import write_savedmodel as write_savedmodel
    from shortlist.api.stored import Stored as Stored
    from shortlist.api.warming import warm_start as warm_start
    from shortlist.bundle import load as load
    from shortlist.bundle.live import open_live as open_live
    from shortlist.data import datasets as datasets
    from shortlist.data import splits as splits
    from shortlist.data.dataset import Dataset as Dataset
    from shortlist.data.splits import Split as Split
    from shortlist.errors import ShortlistError as ShortlistError
    from shortlist.models.towers import register_tower as register_tower
    from shortlist.pipeline.bulk import recommend_all as recommend_all
    from shortlist.pipeline.bulk import similar_all as similar_all
    from shortlist.pipeline.explaining import Explanation as Explanation
    from shortlist.pipeline.live import Live as Live
    from shortlist.pipeline.recommender import Recommender as Recommender
    from shortlist.pipeline.slate import Slate as Slate
    from shortlist.pipeline.stages import Utility as Utility
    from shortlist.recipes.infer import infer as infer
    from shortlist.recipes.tuning import tune as tune
    from shortlist.specs.aggregates import Affinity as Affinity
    from shortlist.specs.aggregates import Aggregate as Aggregate
    from shortlist.specs.aggregates import Context as Context
    from shortlist.specs.aggregates import Process as Process
    from shortlist.specs.features import Bag as Bag
    from shortlist.specs.features import Bucket as Bucket
    from shortlist.specs.features import Category as Category
    from shortlist.specs.features import Cyclic as Cyclic
    from shortlist.specs.features import History as History
    from shortlist.specs.features import Id as Id
    from shortlist.specs.features import Normalize as Normalize
    from shortlist.specs.features import Tags as Tags
    from shortlist.specs.features import Text as Text
    from shortlist.specs.features import Vector as Vector
    from shortlist.specs.models import MultiTask as MultiTask
    from shortlist.specs.models import Ranker as Ranker
    from shortlist.specs.models import Tower as Tower
    from shortlist.specs.models import TwoTower as TwoTower
    from shortlist.specs.recipe import Recipe as Recipe
    from shortlist.specs.tasks import Custom as Custom
    from shortlist.specs.tasks import Rating as Rating
    from shortlist.specs.tasks import Retrieval as Retrieval
    from shortlist.specs.training import Adagrad as Adagrad
    from shortlist.specs.training import Adam as Adam
    from shortlist.specs.training import Training as Training
    from shortlist.tasks.ranking import register_task as register_task

__version__ = "0.1.0"

_HOMES = {
    "Adagrad": "shortlist.specs.training",
    "Adam": "shortlist.specs.training",
    "Affinity": "shortlist.specs.aggregates",
    "Aggregate": "shortlist.specs.aggregates",
    "Bag": "shortlist.specs.features",
    "Bucket": "shortlist.specs.features",
    "Category": "shortlist.specs.features",
    "Context": "shortlist.specs.aggregates",
    "Custom": "shortlist.specs.tasks",
    "Cyclic": "shortlist.specs.features",
    "Dataset": "shortlist.data.dataset",
    "Explanation": "shortlist.pipeline.explaining",
    "Fitted": "shortlist.api.fitting",
    "History": "shortlist.specs.features",
    "Id": "shortlist.specs.features",
    "Live": "shortlist.pipeline.live",
    "MultiTask": "shortlist.specs.models",
    "Normalize": "shortlist.specs.features",
    "Process": "shortlist.specs.aggregates",
    "Ranker": "shortlist.specs.models",
    "Rating": "shortlist.specs.tasks",
    "Recipe": "shortlist.specs.recipe",
    "Recommender": "shortlist.pipeline.recommender",
    "Retrieval": "shortlist.specs.tasks",
    "ShortlistError": "shortlist.errors",
    "Slate": "shortlist.pipeline.slate",
    "Split": "shortlist.data.splits",
    "Stored": "shortlist.api.stored",
    "Tags": "shortlist.specs.features",
    "Text": "shortlist.specs.features",
    "Tower": "shortlist.specs.models",
    "Training": "shortlist.specs.training",
    "TwoTower": "shortlist.specs.models",
    "Utility": "shortlist.pipeline.stages",
    "Vector": "shortlist.specs.features",
    "combine": "shortlist.api.recommending",
    "compare": "shortlist.api.comparing",
    "encode": "shortlist.api.encoding",
    "evaluate": "shortlist.api.evaluating",
    "export_bundle": "shortlist.api.exporting",
    "fit": "shortlist.api.fitting",
    "infer": "shortlist.recipes.infer",
    "load": "shortlist.bundle",
    "open_live": "shortlist.bundle.live",
    "recommend_all": "shortlist.pipeline.bulk",
    "register_task": "shortlist.tasks.ranking",
    "register_tower": "shortlist.models.towers",
    "similar_all": "shortlist.pipeline.bulk",
    "warm_start": "shortlist.api.warming",
    "tune": "shortlist.recipes.tuning",
    "write_savedmodel": "shortlist.api.savedmodels",
}
_MODULES = {"datasets": "shortlist.data.datasets", "splits": "shortlist.data.splits"}

_EXTRAS = {"jax": "train", "equinox": "train", "onnx": "train", "polars": "tables"}

__all__ = ["__version__", *sorted([*_HOMES, *_MODULES])]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return _import(_MODULES[name])
    if name in _HOMES:
        return getattr(_import(_HOMES[name]), name)
    raise AttributeError(f"module 'shortlist' has no attribute {name!r}")


def _import(module: str) -> Any:
    """The module; where an optional dependency of it is absent, the error says which extra brings it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "")
        if extra is None:
            raise
        from shortlist.errors import MissingExtra

        raise MissingExtra(str(error.name), extra, f"{module.removeprefix('shortlist.')}") from error


def __dir__() -> list[str]:
    return __all__
