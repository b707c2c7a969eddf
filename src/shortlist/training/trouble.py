"""When a loss is not a number: where it happened, in which task, and the likeliest reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from shortlist._typing import Array, Ints
from shortlist.errors import NonFiniteLoss
from shortlist.features.batches import Catalogue, Examples

LARGE = 50.0
"""Encoded features beyond this many units are suspects: a normalised one rarely passes 10."""


def check_finite(
    losses: dict[str, Array],
    at: tuple[int, int, int],
    examples: Examples,
    catalogue: Catalogue,
    order: Ints,
) -> None:
    """Raise NonFiniteLoss at the first step whose loss is NaN or infinite.

    at: (epoch, steps an epoch, the epoch's step these losses begin with); order: the steps' rows of examples.
    """
    epoch, num_steps, first = at
    bad = {name: int(np.argmin(np.isfinite(v))) for name, v in losses.items() if not np.isfinite(v).all()}
    if not bad:
        return
    task, step = min(bad.items(), key=lambda item: item[1])
    rows = order[step][order[step] >= 0]
    suspect = _label_suspect(examples, rows) or _feature_suspect(examples, catalogue, rows)
    reason = suspect or "no feature stands out, so the updates diverged"
    raise NonFiniteLoss(
        f"the loss of task {task!r} became {losses[task][step]} at step {epoch * num_steps + first + step}"
        f" (epoch {epoch + 1}, batch {first + step + 1}); {reason}",
        hint="leave that feature out, or wrap it in Normalize or Bucket"
        if suspect
        else "lower the learning rate, or add warmup",
    )


def check_parameters(parameters: Iterable[Any], epoch: int) -> None:
    """Raise NonFiniteLoss where a parameter is NaN or infinite: the next loss would be."""
    # both carry NaN through and, unlike isfinite, need no memory
    arrays = [np.asarray(x) for x in parameters]
    extremes = [edge for x in arrays if x.size for edge in (x.min(), x.max())]
    if not np.isfinite(extremes).all():
        raise NonFiniteLoss(
            f"a parameter became NaN or infinite after epoch {epoch + 1}: the updates diverged",
            hint="lower the learning rate, or add warmup",
        )


def _label_suspect(examples: Examples, rows: Ints) -> str:
    for name, labels in examples.labels.items():
        if not np.isfinite(labels[rows]).all():
            return f"the label {name!r} holds a value that is not finite"
        if np.abs(labels[rows]).max() > 1e6:
            return f"the label {name!r} reaches {np.abs(labels[rows]).max():.4g}: rescale it"
    return ""


def _feature_suspect(examples: Examples, catalogue: Catalogue, rows: Ints) -> str:
    """The feature without finite values, else the one whose values are largest, when large."""
    arrays = {f"query feature {k!r}": v[rows] for k, v in examples.query.items()}
    arrays |= {f"candidate feature {k!r}": v[examples.candidates[rows]] for k, v in catalogue.items.items()}
    floats = {k: v for k, v in arrays.items() if v.dtype.kind == "f"}
    for name, values in floats.items():
        if not np.isfinite(values).all():
            return f"{name} holds a value that is not finite"
    size = {name: float(np.abs(values).max(initial=0)) for name, values in floats.items()}
    name = max(size, key=lambda k: size[k], default="")
    if not name or size[name] <= LARGE:
        return ""
    return f"the likeliest reason is {name}, which reaches {size[name]:.4g}"
