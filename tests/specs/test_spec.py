"""Declarations: frozen, hashable, the same in Python, JSON and TOML; every contradiction named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import SpecError
from shortlist.specs import features, tasks, training
from shortlist.specs.features import Bucket, Category, Cyclic, Id, Normalize, Tags, Text, Vector
from shortlist.specs.models import MultiTask, Ranker, Tower, TwoTower
from shortlist.specs.recipe import DataSource, Evaluation, Recipe, Serving, SplitRule
from shortlist.specs.spec import Spec
from shortlist.specs.tasks import Custom, Rating, Retrieval
from shortlist.specs.training import Adagrad, Adam, Training

name = st.text("abcdefgh_ é", min_size=1, max_size=8)
whole = st.integers(1, 10_000)
rate = st.floats(1e-6, 10.0) | st.integers(1, 3)
part = st.floats(0, 0.99) | st.just(0)
amount = st.floats(0, 5.0) | st.integers(0, 5)
table = {"dim": whole, "dropout": part, "l2": amount, "scale": amount}
shareable = table | {"table": name.map("own {}".format)}
plain_value = st.booleans() | st.integers(-9, 9) | name
options = st.dictionaries(name, plain_value | st.lists(plain_value, max_size=3), max_size=2)
network = {
    "hidden": st.lists(whole, max_size=3),
    "activation": st.sampled_from(["relu", "gelu", "silu", "tanh"]),
}
head = network | {
    "label": name,
    "weight": amount,
    "interaction": st.sampled_from(["concat", "product"]),
    "dim": whole,
    "dropout": part,
    "biases": st.booleans(),
    "bias_l2": amount,
    "l2": amount,
    "reduction": st.sampled_from(["mean", "sum"]),
}


def coherent(cls: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Dropout acts before hidden layers, so a spec that has it needs some."""
    if cls in (Tower, Rating, Custom) and given.get("dropout") and not given.get("hidden", cls is not Tower):
        return given | {"dropout": 0.0}
    return given


def made(cls: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Specs of a class, each optional field given or left at its default."""
    required = {f.name for f in msgspec.structs.fields(cls) if f.required}
    required |= {Custom: {"loss"}, Ranker: {"tasks"}, MultiTask: {"tasks"}}.get(cls, set())
    must = {k: v for k, v in fields.items() if k in required}
    may = {k: v for k, v in fields.items() if k not in required}
    return st.fixed_dictionaries(must, optional=may).map(lambda given: cls(**coherent(cls, given)))


feature = st.one_of(
    made(Id, column=name, **shareable),
    made(Category, column=name, min_count=whole, **shareable),
    made(Tags, column=name, min_count=whole, **shareable),
    made(Text, column=name, vocabulary=whole, length=whole, **shareable),
    made(Bucket, column=name, num_buckets=whole, method=st.sampled_from(["uniform", "quantile"]), **table),
    made(Normalize, column=name),
    made(Cyclic, column=name, harmonics=whole, period=st.sampled_from(sorted(features.PERIODS))),
    made(Vector, column=name, dim=whole),
)
tower = made(
    Tower,
    features=st.lists(feature, min_size=1, max_size=4, unique_by=(lambda f: f.key, lambda f: f.table_name)),
    out=whole,
    dropout=part,
    options=options,
    **network,
)
retrieval = made(
    Retrieval,
    weight=rate,
    loss=st.sampled_from(["in_batch", "full"]),
    log_q=st.booleans(),
    hard_negatives=whole,
    temperature=rate,
    normalize=st.booleans(),
)
rating = made(Rating, **(head | {"weight": rate}))
custom = made(Custom, loss=name, options=options, **head)
model = st.one_of(
    made(TwoTower, query=tower, candidate=tower, task=retrieval),
    made(Ranker, query=tower, candidate=tower, tasks=st.lists(rating, min_size=1, max_size=1)),
    made(MultiTask, query=tower, candidate=tower, tasks=st.tuples(retrieval, rating).map(list)),
)
schedule = {"schedule": st.sampled_from(["constant", "cosine", "linear"]), "warmup": part}
optimizer = st.one_of(
    made(Adagrad, learning_rate=rate, initial_accumulator=amount, epsilon=amount, **schedule),
    made(Adam, learning_rate=rate, beta1=part, beta2=part, epsilon=rate, **schedule),
)
course = made(Training, epochs=whole, batch_size=whole, optimizer=optimizer, seed=whole, patience=whole)
recipe = made(
    Recipe,
    data=st.builds(lambda d, p: DataSource(dataset=d, path=p), name, name),
    model=model,
    name=name,
    training=course,
    split=made(SplitRule, rule=name, validation=part, seed=whole),
    evaluation=made(
        Evaluation, k=st.lists(whole, min_size=1, max_size=3), baselines=st.booleans(), resamples=whole
    ),
    serving=made(
        Serving, retrieve=whole, rating_weight=st.none() | amount, weights=st.lists(amount, max_size=3)
    ),
)
anything = st.one_of(feature, tower, retrieval, rating, custom, model, optimizer, course, recipe)


@given(anything)
def test_json_and_toml_give_the_same_spec_back(spec: Spec) -> None:
    cls = type(spec)
    for again in (
        cls.from_json(spec.to_json()),
        cls.from_toml(spec.to_toml()),
        cls.from_dict(spec.to_dict()),
    ):
        assert again == spec
        assert hash(again) == hash(spec)
        assert again.to_json() == spec.to_json()


def test_equal_specs_have_equal_hashes_whatever_numbers_they_were_given() -> None:
    for one, other in (
        (Id("user_id", dropout=0), Id("user_id", dropout=0.0)),
        (Adam(1), Adam(1.0)),
        (Adam(np.float64(0.5)), Adam(0.5)),
        (Id("user_id", np.int64(8)), Id("user_id", 8)),
        (Tower([Id("a")]), Tower((Id("a"),))),
    ):
        assert one == other
        assert hash(one) == hash(other)
        assert one.to_json() == other.to_json()
    assert Id("user_id", 8) != Id("user_id", 9)
    assert hash(Id("user_id")) != hash(Category("user_id"))


def test_lists_become_tuples_and_nothing_can_be_set() -> None:
    tower = Tower([Id("user_id")], hidden=[8, 4])
    assert tower.features == (Id("user_id"),)
    assert tower.hidden == (8, 4)
    assert type(tower.features) is type(tower.hidden) is tuple
    assert type(Evaluation(k=[1, 2]).k) is tuple
    with pytest.raises(AttributeError):
        tower.out = 3  # type: ignore[misc]
    assert len({tower, Tower([Id("user_id")], hidden=[8, 4])}) == 1


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('query.features = [{kind="id", column="u", dimm=3}]', "`dimm` - at `$.query.features[0]`"),
        ('query.features = [{kind="idd", column="u"}]', "'idd' - at `$.query.features[0].kind`"),
        ('query.features = [{kind="id", column="u", dim="3"}]', "got `str` - at `$.query.features[0].dim`"),
        ('query.features = [{kind="id", column="u", dim=-3}]', "-3 - at `$.query.features[0]`"),
        ('query.features = [{kind="id", column="u"}]\nquery.wide = 3', "`wide` - at `$.query`"),
        ("task.temprature = 1.0", "`temprature` - at `$.task`"),
        ('task.loss = "ful"', "'ful' - at `$.task.loss`"),
    ],
)
def test_errors_in_a_file_carry_their_path(text: str, path: str) -> None:
    whole = text
    if "query" not in text:
        whole += '\nquery.features = [{kind="id", column="u"}]'
    whole += '\ncandidate.features = [{kind="id", column="i"}]'
    with pytest.raises(SpecError) as caught:
        TwoTower.from_toml(whole)
    assert path in str(caught.value)


def test_the_hint_of_a_check_survives_reading() -> None:
    with pytest.raises(SpecError, match=r"at least one feature.*\$\.query") as caught:
        TwoTower.from_dict({"query": {"features": []}, "candidate": {"features": []}})
    assert "Id(" in caught.value.hint


def test_text_that_is_no_toml_or_json() -> None:
    with pytest.raises(SpecError, match=r"not valid TOML: .*line 1"):
        Adam.from_toml("learning_rate = \nwarmup = 0")
    with pytest.raises(SpecError, match="not valid JSON"):
        Adam.from_json("{")


TOWER = Tower([Id("user_id")])
CONTRADICTIONS: list[tuple[Callable[[], Any], str]] = [
    (lambda: Id(""), "needs the name of a column"),
    (lambda: Id("a#b"), "'a#b'"),
    (lambda: Id("u", 0), "Id.dim must be above 0, got 0"),
    (lambda: Id("u", dropout=1.0), r"Id.dropout must lie in \[0, 1\), got 1.0"),
    (lambda: Id("u", l2=-0.5), "Id.l2 must not be negative, got -0.5"),
    (lambda: Id("u", scale=-1), "Id.scale must not be negative, got -1"),
    (lambda: Id("u", scale=float("nan")), "Id.scale must be finite, got nan"),
    (lambda: Category("u", min_count=0), "Category.min_count must be above 0, got 0"),
    (lambda: Tags("u", min_count=-1), "Tags.min_count must be above 0, got -1"),
    (lambda: Text("u", vocabulary=0), "Text.vocabulary must be above 0, got 0"),
    (lambda: Text("u", length=0), "Text.length must be above 0, got 0"),
    (lambda: Bucket("u", 0), "Bucket.num_buckets must be above 0, got 0"),
    (lambda: Bucket("u", method="quantle"), "Bucket.method.*'quantle'"),  # type: ignore[arg-type]
    (lambda: Cyclic("u", harmonics=0), "Cyclic.harmonics must be above 0, got 0"),
    (lambda: Cyclic("u", "week"), "Cyclic.period.*'week'"),  # type: ignore[arg-type]
    (lambda: Vector("u", 0), "Vector.dim must be above 0, got 0"),
    (lambda: Id("u", "32"), "Id.dim.*str"),  # type: ignore[arg-type]
    (lambda: Id(3), "Id.column.*int"),  # type: ignore[arg-type]
    (lambda: Tower([]), "at least one feature"),
    (lambda: Tower([Retrieval()]), "Tower.features"),  # type: ignore[list-item]
    (lambda: Tower([Id("u"), Id("u", 3)]), "'u.id' twice"),
    (lambda: Tags("u", table="a#b"), "table's name must not hold '#': 'a#b'"),
    (
        lambda: Tower([Id("u", 3, table="t"), Tags("v", 4, table="t")]),
        "'t', but dim is 3 of one and 4 of the",
    ),
    (lambda: Tower([Id("u", 4), Tags("v", 4, scale=0.1, table="u.id")]), "Tags.*'u.id', but scale is 0.05"),
    (
        lambda: Tower([Tags("u", 4, 2, table="t"), Id("v", 4, table="t")]),
        "min_count is 2 of one and 1 of the",
    ),
    (lambda: Tower([Text("u", 9, 4, table="t"), Text("v", 8, 4, table="t")]), "vocabulary is 9 of one and 8"),
    (
        lambda: Tower([Text("u", dim=4, table="t"), Tags("v", 4, table="t")]),
        "a word of one and a whole value",
    ),
    (lambda: Tower([Bucket("u", 9, 4), Tags("v", 4, table="u.bucket")]), "nothing of one and a whole value"),
    (lambda: Tower([Id("u")], out=0), "Tower.out must be above 0, got 0"),
    (lambda: Tower([Id("u")], hidden=(4, 0)), r"above 0, got \(4, 0\)"),
    (lambda: Tower([Id("u")], dropout=-0.1), "got -0.1"),
    (lambda: Tower([Id("u")], dropout=0.1), "acts before hidden layers"),
    (lambda: Rating(hidden=(), dropout=0.1), "acts before hidden layers"),
    (lambda: Tower([Id("u")], activation="rel"), "'rel'"),  # type: ignore[arg-type]
    (lambda: Tower([Id("u")], layer="mine"), "'mine' needs out="),
    (lambda: Tower([Id("u", 3), Category("c", 4)], combine="sum"), r"got \[3, 4\]"),
    (lambda: Tower([Normalize("t")], combine="sum"), "no table feature"),
    (lambda: Ranker(TOWER, TOWER), "at least one task"),
    (lambda: Ranker(TOWER, TOWER, [Retrieval()]), "no Retrieval task"),
    (lambda: MultiTask(TOWER, TOWER, [Rating(), Rating()]), "two tasks named 'rating'"),
    (lambda: MultiTask(TOWER, TOWER, [Rating(weight=0), Retrieval(weight=0)]), "every task has weight 0"),
    (lambda: Retrieval(weight=-1), "weight must not be negative, got -1"),
    (lambda: Retrieval(temperature=0), "temperature must be above 0, got 0"),
    (lambda: Retrieval(hard_negatives=-2), "hard_negatives must not be negative, got -2"),
    (lambda: Retrieval(extra_negatives=-2), "extra_negatives must not be negative, got -2"),
    (lambda: Retrieval(loss="full", extra_negatives=5), "extra_negatives add nothing"),
    (lambda: Retrieval(loss="ful"), "Retrieval.loss.*'ful'"),  # type: ignore[arg-type]
    (lambda: Rating(dim=-1), "dim must not be negative, got -1"),
    (lambda: Rating(hidden=(0,)), r"widths above 0, got \(0,\)"),
    (lambda: Rating(dropout=2), "got 2"),
    (lambda: Rating(bias_l2=-1), "bias_l2 must not be negative, got -1"),
    (lambda: Custom(), "name of a registered loss"),
    (lambda: Adam(0), "learning_rate must be above 0, got 0"),
    (lambda: Adam(0.1, warmup=1), r"warmup must lie in \[0, 1\), got 1"),
    (lambda: Adam(0.1, schedule="cosin"), "Adam.schedule.*'cosin'"),  # type: ignore[arg-type]
    (lambda: Adam(0.1, beta1=1.0), "beta1.*got 1.0"),
    (lambda: Adam(0.1, epsilon=0), "epsilon must be above 0, got 0"),
    (lambda: Adagrad(0.1, initial_accumulator=-1), "initial_accumulator must not be negative, got -1"),
    (lambda: Training(epochs=0), "epochs must be above 0, got 0"),
    (lambda: Training(epochs=2.5), "Training.epochs.*float"),  # type: ignore[arg-type]
    (lambda: Training(batch_size=0), "batch_size must be above 0, got 0"),
    (lambda: Training(patience=-1), "patience must not be negative, got -1"),
    (lambda: Training(seed=-1), "seed must not be negative, got -1"),
    (lambda: msgspec.structs.replace(Training(), epochs=0), "epochs must be above 0, got 0"),
    (lambda: DataSource(), "either dataset= or interactions="),
    (lambda: DataSource(dataset="a", interactions="b"), "either dataset= or interactions="),
    (lambda: SplitRule(validation=1.0), r"lie in \[0, 1\), got 1.0"),
    (lambda: Evaluation(k=(10, 0)), r"above 0, got \(10, 0\)"),
    (lambda: Evaluation(k=()), r"above 0, got \(\)"),
    (lambda: Evaluation(resamples=0), "resamples must be above 0, got 0"),
    (lambda: Serving(retrieve=0), "retrieve must be above 0, got 0"),
    (lambda: Serving(rating_weight=-0.5), "rating_weight must not be negative, got -0.5"),
]


@pytest.mark.parametrize(("build", "message"), CONTRADICTIONS, ids=[m for _, m in CONTRADICTIONS])
def test_contradictions_are_named_with_their_value(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build()


def test_what_a_model_knows_of_its_tasks() -> None:
    joint = MultiTask(TOWER, TOWER, [Retrieval(), Rating(), Custom(loss="mine")])
    assert joint.retrieval == Retrieval()
    assert [h.name for h in joint.heads] == ["rating", "mine"]
    assert TwoTower(TOWER, TOWER).all_tasks == (Retrieval(),)
    assert Ranker(TOWER, TOWER, [Rating("watched")]).retrieval is None
    assert tasks.Task.__subclasses__() == [Retrieval, tasks.Head]
    assert training.Optimizer.__subclasses__() == [Adagrad, Adam]
