"""What the whole suite shares: the processor as device, compiled programs, fitted models."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from shortlist.api.fitting import Fitted
    from shortlist.data.dataset import Dataset
    from shortlist.data.splits import Split

# Read when JAX is first imported, which is later than this.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "programs"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Programs of the fast suite run for milliseconds and take seconds to compile, so the back end leaves machine
# code as it comes, a program in one piece; what is computed stays. XLA_FLAGS= make test compiles as users do,
# as the slow tests do.
QUICK_TO_COMPILE = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1"
)

settings.register_profile("suite", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    if "not slow" in config.getoption("markexpr"):
        os.environ.setdefault("XLA_FLAGS", QUICK_TO_COMPILE)


def pytest_collection_finish() -> None:
    # Modules and tests live as long as the process, and tracing makes a great many short-lived objects: what
    # is there now is never looked through again, the rest less often. A tenth of the suite's time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 10, 10)


@pytest.fixture(scope="session")
def ml100k() -> Dataset:
    """MovieLens 100K, from the cache or fetched once."""
    from shortlist.data.movielens import movielens

    return movielens("100k")


@pytest.fixture(scope="session")
def split(ml100k: Dataset) -> Split:
    """The split of every published figure: 80,000 random rows to learn from, 20,000 to test on."""
    from shortlist.data import splits

    return splits.random(ml100k, test=0.2, seed=42)


@pytest.fixture(scope="session")
def small_data(ml100k: Dataset) -> Dataset:
    """The 120 busiest users' rows with the 200 busiest items: small enough to fit in a second."""
    import polars as pl

    from shortlist.data.dataset import Dataset

    rows = ml100k.interactions

    def busiest(column: str, count: int) -> list[str]:
        return rows[column].value_counts().sort("count", column, descending=True)[column][:count].to_list()

    users, items = busiest("user_id", 120), busiest("item_id", 200)
    return Dataset(
        rows.filter(pl.col("user_id").is_in(users) & pl.col("item_id").is_in(items)),
        ml100k.users.filter(pl.col("user_id").is_in(users)),
        ml100k.items.filter(pl.col("item_id").is_in(items)),
        "small",
    )


@pytest.fixture(scope="session")
def small_split(small_data: Dataset) -> Split:
    """A random split of the small data, with validation rows."""
    from shortlist.data import splits

    return splits.random(small_data, test=0.2, validation=0.1, seed=42)


@pytest.fixture(scope="session")
def joint_model() -> Any:
    """A joint model with the tutorials' inputs, narrow."""
    import shortlist as sl

    return sl.MultiTask(
        query=sl.Tower(
            [sl.Id("user_id", 8), sl.Bucket("timestamp", 20, 8), sl.Normalize("timestamp")], out=8
        ),
        candidate=sl.Tower([sl.Id("item_id", 8), sl.Text("title", 500, 8)], out=8),
        tasks=[sl.Retrieval(), sl.Rating("rating", hidden=[16])],
    )


@pytest.fixture(scope="session")
def joint(joint_model: Any, small_split: Split) -> Fitted:
    """The joint model, fitted on the small split."""
    import shortlist as sl

    return sl.fit(joint_model, small_split, epochs=3, batch_size=512, seed=42)


@pytest.fixture(scope="session")
def custom_model() -> Any:
    """A joint model with a tower and a task of one's own, registered under names."""
    import shortlist as sl

    _register_own()
    return sl.MultiTask(
        query=sl.Tower(
            [sl.Id("user_id", 8), sl.Normalize("timestamp")], out=8, layer="gated", options={"depth": 2}
        ),
        candidate=sl.Tower([sl.Id("item_id", 8), sl.Text("title", 500, 8)], out=8),
        tasks=[sl.Retrieval(), sl.Custom("rating", hidden=[8], loss="huber", options={"delta": 1.0})],
    )


@pytest.fixture(scope="session")
def custom(custom_model: Any, small_split: Split) -> Fitted:
    """That model, fitted on the small split."""
    import shortlist as sl

    return sl.fit(custom_model, small_split, epochs=2, batch_size=512, seed=42)


def _register_own() -> None:
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    import shortlist as sl

    class Gated(eqx.Module):
        """Joined features, scaled by a gate of themselves, through a network."""

        gate: eqx.nn.Linear
        network: eqx.nn.MLP

        def __call__(self, features: dict[str, jax.Array], *, key: jax.Array | None) -> jax.Array:
            x = jnp.concatenate([features[name] for name in sorted(features)])
            return self.network(x * jax.nn.sigmoid(self.gate(x)))

    def gated(
        widths: dict[str, int], out: int, *, key: jax.Array, depth: int = 1
    ) -> Callable[..., jax.Array]:
        width = sum(widths.values())
        first, second = jax.random.split(key)
        network = eqx.nn.MLP(width, out, 2 * out, depth, activation=jnp.tanh, key=second)
        return Gated(eqx.nn.Linear(width, width, key=first), network)

    def huber(pairs: Any, *, delta: float) -> jax.Array:
        error = jnp.abs(pairs.scores - pairs.labels)
        return jnp.where(error <= delta, 0.5 * error**2, delta * (error - 0.5 * delta))

    sl.register_tower("gated")(gated)
    sl.register_task("huber")(huber)
