"""One contract for every component a spec can name, found by walking the declarations.

Each is built with its defaults, written and read, fitted and encoded, trained a step, trained again to the
same bits, asked about values it has never seen, asked about one row and many, and exported: a graph answers
as JAX does to 1e-5. A new spec class, or a new word an option may be, fails here until it has an entry.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import typing
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from typing import Any

import equinox as eqx
import jax
import msgspec
import numpy as np
import onnxruntime
import polars as pl
import pytest

import shortlist.specs
from shortlist._typing import MISSING_INT, Columns
from shortlist.api.fitting import Fitted, fit
from shortlist.api.pasts import numbers_read, standing
from shortlist.api.preparing import positions_of, query_columns, user_indices
from shortlist.data.movielens import movielens
from shortlist.data.splits import Split
from shortlist.export.graphs import export_graphs
from shortlist.features.encoder import Encoder
from shortlist.models.towers import register_tower
from shortlist.specs.aggregates import Affinity, Aggregate, Context, Figure, Process
from shortlist.specs.features import (
    PERIODS,
    Bag,
    Bucket,
    Category,
    Cyclic,
    Feature,
    FeatureSpec,
    History,
    Id,
    Normalize,
    Tags,
    Text,
    Vector,
)
from shortlist.specs.models import Model, MultiTask, Ranker, Tower, TwoTower
from shortlist.specs.recipe import Auto, DataSource, Evaluation, Outline, Recipe, Serving, SplitRule
from shortlist.specs.spec import Spec
from shortlist.specs.tasks import Custom, Head, Rating, Retrieval, Task
from shortlist.specs.training import Adagrad, Adam, Optimizer, OptimizerSpec, Training
from shortlist.specs.tuning import Choices, Span, Tuning
from shortlist.tasks.ranking import register_task

FEATURES: dict[type[Feature], FeatureSpec] = {
    Id: Id("user_id"),
    Category: Category("city"),
    Tags: Tags("likes"),
    Text: Text("about"),
    Bucket: Bucket("timestamp"),
    Normalize: Normalize("age"),
    Cyclic: Cyclic("timestamp"),
    History: History(length=3),
    Bag: Bag(),
    Vector: Vector("photo"),
}
FIGURES: dict[type[Figure], Any] = {
    Aggregate: Aggregate(),
    Context: Context(),
    Affinity: Affinity(),
    Process: Process(factors=2),
}
TASKS: dict[type[Task], Any] = {
    Retrieval: Retrieval(),
    Rating: Rating(),
    Custom: Custom("rating", loss="contract-loss"),
}
OPTIMIZERS: dict[type[Optimizer], OptimizerSpec] = {Adagrad: Adagrad(0.1), Adam: Adam(0.01)}
USER, ITEM = Id("user_id", 4), Id("item_id", 4)
SIDE = Tower([ITEM], out=4)
PASTS: dict[str, Tower] = {  # each encoder, bags plain and rated, as of the row and leave-one-out
    "weighted, rated bag": Tower(
        [
            History(length=3, dim=4, event_dropout=0.3, options={"heads": 2}),
            Bag(dim=4, rated=True, as_of="leave-one-out", event_dropout=0.3, l2=0.1),
            Normalize("past_gap"),
        ],
        combine="sum",
    ),
    "mean, shared": Tower(
        [
            History(length=4, dim=4, encoder="mean", as_of="leave-one-out", table="item"),
            Bag(dim=4, as_of="leave-one-out", table="item", l2=0.1),
            Bag(dim=4, rated=True, table="item"),
        ],
        out=4,
    ),
    "gru": Tower([History(length=3, dim=4, encoder="gru", options={"dropout": 0.3})], out=4),
    "attention": Tower(
        [History(length=3, dim=4, encoder="attention", as_of="leave-one-out"), Bag(dim=4, length=2)], out=4
    ),
}
TOWERS: dict[str, Tower] = {
    "defaults": Tower([USER]),
    "hidden": Tower([Id("user_id", 3), Normalize("age")], hidden=[5], out=4, activation="gelu"),
    "dropout": Tower(
        [Id("user_id", 4, dropout=0.3, id_dropout=0.3)], hidden=[5, 4], activation="silu", dropout=0.3
    ),
    "sum, a shared table": Tower(
        [
            USER,
            *(kind(c, 4, table="words") for kind, c in ((Category, "city"), (Tags, "likes"))),
            Normalize("age"),
            Vector("photo", 3),
        ],
        combine="sum",
    ),
    "layer": Tower([USER, Cyclic("timestamp")], out=4, layer="contract-tower", options={"scale": 2.0}),
    "residual": Tower([USER], hidden=[5], residual=True, out_dropout=0.3, activation="tanh"),
    "quantiles and periods": Tower(
        [
            Bucket("timestamp", 5, 4, method="quantile"),
            *(Cyclic("timestamp", period=period, harmonics=2) for period in PERIODS),
        ]
    ),
    **PASTS,
}
HEADS: dict[str, Any] = {
    "product": Rating(hidden=[3], interaction="product", dim=2, l2=0.1, bias_l2=0.1, activation="gelu"),
    "dot": Rating(
        hidden=[3],
        interaction="dot",
        dim=2,
        activation="silu",
        query=[Id("user_id", 2)],
        candidate=[Bag(column="user_id", dim=2, rated=True)],
        reduction="sum",
    ),
    "no biases": Rating(hidden=[3], biases=False, dropout=0.5, activation="tanh"),
    "full softmax": Retrieval(loss="full", known_positives=True, temperature=0.5, normalize=True),
    "sampled softmax": Retrieval(extra_negatives=3, hard_negatives=2, item_bias=True, reduction="sum"),
    "own features": Rating(
        hidden=[3],
        interaction="product",
        dim=2,
        query=[Id("user_id", 2, l2=0.1), Bag(dim=2, rated=True, event_dropout=0.3)],
        candidate=[Id("item_id", 2)],
        aggregates=list(FIGURES.values()),
        cross=2,
        bias_l2=0.1,
    ),
    "aggregates": Rating(
        hidden=[3], inputs="aggregates", aggregates=[Aggregate(as_of="leave-one-out")], dropout=0.3
    ),
    "seen": Retrieval(seen="row", learned_temperature=True),
    "seen, leave-one-out": Retrieval(seen="leave-one-out", loss="full", hard_negatives=3),
}
MODELS: dict[type[Model], Model] = {
    TwoTower: TwoTower(Tower([USER]), Tower([ITEM])),
    Ranker: Ranker(Tower([USER]), Tower([ITEM]), [Rating()]),
    MultiTask: MultiTask(Tower([USER]), Tower([ITEM]), [Retrieval(), Rating()]),
}
REST: dict[type[Spec], Spec] = {
    Tower: Tower([USER]),
    Training: Training(),
    DataSource: DataSource(dataset="movielens-100k"),
    SplitRule: SplitRule(),
    Evaluation: Evaluation(),
    Serving: Serving(),
    Auto: Auto(goal="retrieval"),
    Outline: Outline(model=Auto(goal="retrieval")),
    Recipe: Recipe(data=DataSource(dataset="movielens-100k"), model=MODELS[TwoTower]),
    Tuning: Tuning(),
    Span: Span(low=1, high=3),
    Choices: Choices(values=(1, 2)),
}
ALL: dict[Any, Any] = {**FEATURES, **FIGURES, **TASKS, **OPTIMIZERS, **MODELS, **REST}


class _Linear(eqx.Module):
    matrix: Any
    scale: float

    def __call__(self, features: Any, *, key: Any) -> Any:
        return self.scale * jax.numpy.concatenate(list(features.values())) @ self.matrix


@register_tower("contract-tower")
def _tower(widths: Any, out: int, *, key: Any, scale: float) -> Any:
    matrix = jax.random.normal(key, (sum(widths.values()), out))
    return _Linear(matrix, scale)


@register_task("contract-loss")
def _loss(pairs: Any) -> Any:
    return jax.numpy.logaddexp(0.0, pairs.scores) - (pairs.labels > 3) * pairs.scores


def concrete(root: type[Spec]) -> set[type[Spec]]:
    """Every class below `root` in the declarations' modules that has none below itself."""
    for module in pkgutil.iter_modules(shortlist.specs.__path__, "shortlist.specs."):
        importlib.import_module(module.name)

    def below(cls: type[Spec]) -> Iterator[type[Spec]]:
        children = cls.__subclasses__()
        if not children:
            yield cls
        for child in children:
            yield from below(child)

    return {cls for cls in below(root) if cls.__module__.startswith("shortlist.specs.")}


def test_no_declaration_is_left_out() -> None:
    assert concrete(Feature) == set(FEATURES)
    assert concrete(Figure) == set(FIGURES)
    assert concrete(Task) == set(TASKS)
    assert concrete(Optimizer) == set(OPTIMIZERS)
    assert concrete(Model) == set(MODELS)
    assert concrete(Spec) == set(ALL)


def test_every_component_is_tried() -> None:
    """Features in towers, models and optimizers; all towers and tasks are paired."""
    tried = {type(feature) for tower in TRIED.values() for feature in tower.features}
    assert tried == set(FEATURES)
    assert {kind for kind, _ in KINDS.values()} == set(MODELS)
    assert {optimizer for _, optimizer in KINDS.values()} == set(OPTIMIZERS)


def test_every_option_of_a_tower_is_tried() -> None:
    default = Tower([USER])
    tried = {
        field.name
        for field in msgspec.structs.fields(Tower)
        for tower in TOWERS.values()
        if getattr(tower, field.name) != getattr(default, field.name)
    }
    assert tried == {field.name for field in msgspec.structs.fields(Tower)}


def test_every_choice_of_what_a_graph_is_made_of_is_tried() -> None:
    """All values of options that are one of a few words, of features, towers and tasks."""
    used = [spec for name in NAMES for spec in within(case(name)[0])]
    for cls in (*concrete(Feature), Tower, Head, *concrete(Task)):
        hints = typing.get_type_hints(cls)
        for option in cls.__annotations__:
            words = literals(hints[option])
            left = words - {getattr(spec, option) for spec in used if words and isinstance(spec, cls)}
            assert not left, f"{cls.__name__}.{option} is nowhere {left}"


def literals(hint: Any) -> set[Any]:
    return set(typing.get_args(hint)) if typing.get_origin(hint) is typing.Literal else set()


def within(value: Any) -> Iterator[Spec]:
    """Every spec a value is made of."""
    if isinstance(value, Spec):
        yield value
        value = msgspec.structs.astuple(value)
    if isinstance(value, tuple):
        for part in value:
            yield from within(part)


@pytest.mark.parametrize("cls", ALL, ids=lambda c: c.__name__)
def test_every_spec_is_the_same_after_a_trip(cls: Any) -> None:
    spec = ALL[cls]
    for again in (
        cls.from_json(spec.to_json()),
        cls.from_toml(spec.to_toml()),
        cls.from_dict(spec.to_dict()),
    ):
        assert again == spec
        assert hash(again) == hash(spec)
    assert spec.__doc__


ROWS = 64  # as many as an export compares: one program
PEOPLE, FILMS = ["405", "655", "13", "450", "276"], ["50", "258", "100", "181", "294", "286"]


@cache
def tiny() -> Split:
    """MovieLens rows of five busy people and six popular films, every kind of column on the users' side."""
    data = movielens("100k")
    rows = data.interactions.filter(pl.col("user_id").is_in(PEOPLE), pl.col("item_id").is_in(FILMS))[:24]
    known = data.users.filter(pl.col("user_id").is_in(PEOPLE))
    users = known.select("user_id").with_columns(
        city=pl.Series(["Rome", "Oslo", None, "Rome", "Lima"]),
        likes=pl.Series([["war", "love"], ["war"], [], None, ["love"]]),
        about=pl.Series(["Likes films", "", None, "LIKES 2 read", "films"]),
        age=pl.Series([20.5, None, 31.0, 64.2, 18.0]),
        photo=pl.Series([[0.1, 0.2], None, [1.0, -1.0], [0.3, 0.4], [0.0, 0.5]]),
    )
    items = data.items.filter(pl.col("item_id").is_in(FILMS)).select("item_id")
    return Split(rows, rows[:0], rows[:4], users, items, "given", None, "")


ITEM_LISTS = ("history", "nearest", "seen", "others")
TIME_LISTS = ("history_timestamp", "nearest_timestamp")
RESIDUAL_LISTS = ("seen_residual", "others_residual")
STRANGERS: Columns = {
    "user_id": np.array(["nobody", ""], object),
    "city": np.array(["Atlantis", ""], object),
    "likes": np.array([["chess", "war", "go"], ["", "", ""]], object),
    "about": np.array(["never heard", ""], object),
    "timestamp": np.array([2**62, np.iinfo(np.int64).min]),
    "age": np.array([1e6, np.nan]),
    "photo": np.array([[9, 9], [np.nan, np.nan]], np.float32),
    **{name: np.array([["chess", "50", "258", "50"], [""] * 4], object) for name in ITEM_LISTS},
    **{name: np.array([[2**61, 5, -9, MISSING_INT], [MISSING_INT] * 4]) for name in TIME_LISTS},
    **{name: np.array([[9.5, -1e3, 0, np.nan], [np.nan] * 4]) for name in RESIDUAL_LISTS},
    "past_gap": np.array([2**61, MISSING_INT]),
}


def case(name: str) -> tuple[Model, OptimizerSpec]:
    """The model around the components a name lists."""
    if name in KINDS:
        kind, optimizer = KINDS[name]
        return MODELS[kind], OPTIMIZERS[optimizer]
    tower, task = name.split(" + ")
    return MultiTask(TRIED[tower], SIDE, [(TASKS_BY_NAME | HEADS)[task]]), Adam(0.01)


def features(*kinds: type[Feature]) -> Tower:
    return Tower([FEATURES[kind] for kind in kinds], out=4)


# Together, since compiling is what takes the time: each tower with a task, each model with an optimizer.
TRIED = {
    "texts": features(Id, Category, Tags, Text),
    "numbers": features(Bucket, Normalize, Cyclic, Vector),
    "pasts": features(History, Bag),
    **TOWERS,
}
TASKS_BY_NAME = {cls.__name__: task for cls, task in TASKS.items()}
KINDS: dict[str, tuple[type[Model], type[Optimizer]]] = {
    "TwoTower, Adam": (TwoTower, Adam),
    "Ranker, Adagrad": (Ranker, Adagrad),
    "MultiTask, Adam": (MultiTask, Adam),
}
LONGER = max(len(TRIED), len(TASKS_BY_NAME | HEADS))
PAIRS = [
    f"{tower} + {task}" for _, tower, task in zip(range(LONGER), cycle(TRIED), cycle(TASKS_BY_NAME | HEADS))
]
NAMES = [*PAIRS, *KINDS]
# Their parts are in the other cases or, attention, in tests of their own: these try them together.
AGAIN = {"defaults + product", "attention + Rating", "MultiTask, Adam"}
assert set(NAMES) >= AGAIN


def trained(name: str) -> Fitted:
    model, optimizer = case(name)
    return fit(model, tiny(), epochs=1, batch_size=16, optimizer=optimizer, seed=1)


def columns_of(fitted: Fitted) -> dict[str, Any]:
    """The raw columns of the training rows, those made of past events among them."""
    rows, prepared = tiny().train, fitted.prepared
    columns = query_columns(fitted.model, rows, tiny().users)
    if prepared.events is None:
        return columns
    users, items = user_indices(rows, prepared.users), positions_of(rows, tiny().items)
    names = prepared.encoder.query.lengths | dict.fromkeys(numbers_read(fitted.model), 0)
    return columns | prepared.events.columns(names, standing(prepared.events, rows, users, items))


def exported(fitted: Fitted, known: Columns) -> dict[str, bytes]:
    """The graphs of a model, which are compared with JAX as they are made."""
    scorer = fitted.scorer
    queries = {name: np.asarray(column) for name, column in known.items()}
    return export_graphs(
        scorer.net, scorer.tables, scorer.encoder, queries=queries, candidates=fitted.prepared.items
    )


def require_same(graph: bytes, columns: Columns, **expected: Any) -> None:
    """The graph gives what JAX gives, to 1e-5; of numbers above 16 to five steps of single precision."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    wanted = {name: values for name, values in expected.items() if values is not None}
    assert {output.name for output in session.get_outputs()} == set(wanted)
    found = session.run(list(wanted), {i.name: np.asarray(columns[i.name]) for i in session.get_inputs()})
    for values, got in zip(wanted.values(), found, strict=True):
        np.testing.assert_array_less(np.abs(got - values), 1e-5 * np.maximum(1, np.abs(values) / 16) + 1e-12)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in AGAIN)) for n in NAMES])
def test_every_component_keeps_the_contract(name: str) -> None:
    fitted, again = trained(name), trained(name)
    tasks = {t.name for t in fitted.model.all_tasks}
    assert set(fitted.history) == {f"loss of {t}" for t in tasks}
    assert all(np.isfinite(curve).all() for curve in fitted.history.values())
    first, second = (jax.tree.leaves((f.scorer.net, f.scorer.tables)) for f in (fitted, again))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)), "same seed, same bits"
    assert fitted.history == again.history

    encoder = fitted.scorer.encoder
    assert Encoder.from_dict(json.loads(json.dumps(encoder.to_dict()))) == encoder

    known = {k: np.resize(v, (ROWS, *np.shape(v)[1:])) for k, v in columns_of(fitted).items()}
    strangers = {k: np.repeat(v, ROWS // 2, axis=0) for k, v in STRANGERS.items()}
    graphs = exported(fitted, known)
    for columns in (known, strangers):
        many, vectors = fitted.scorer.encode_query(columns)
        require_same(graphs["query"], columns, representation=many, vector=vectors)
        assert np.isfinite(many).all()
        assert (vectors is None) == (fitted.model.retrieval is None)
        count = len(many)
        for row in (0, count - 1):
            one, vector = fitted.scorer.encode_query({k: v[row : row + 1] for k, v in columns.items()})
            np.testing.assert_allclose(one[0], many[row], rtol=1e-5, atol=1e-6)
            if vector is not None and vectors is not None:
                np.testing.assert_allclose(vector[0], vectors[row], rtol=1e-5, atol=1e-6)
        candidates = np.repeat(fitted.candidates[0][:1], count, axis=0)
        numbers = {
            head: np.full((count, given.shape[1]), 1e3, np.float32)
            for head, given in fitted.prepared.examples.aggregates.items()
        }
        predicted = fitted.scorer.predict(many, candidates, numbers)
        assert all(np.isfinite(p).all() for p in predicted.values())
        given = {f"{head}_aggregates": values for head, values in numbers.items()}
        both = {"query_representation": many, "candidate_representation": candidates}
        if predicted:
            require_same(graphs["pairs"], both | given, **predicted)
            rows = np.arange(2 * count).reshape(count, 2) % count
            twice = {f"{head}_aggregates": values[rows] for head, values in numbers.items()}
            listed = {head: values[:, None].repeat(2, axis=1) for head, values in predicted.items()}
            require_same(graphs["lists"], both | {"candidate": rows} | twice, **listed)
