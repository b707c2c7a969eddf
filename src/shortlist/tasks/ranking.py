"""Tasks that read one number a pair: rating by squared error, and losses of your own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jax import Array

from shortlist.errors import SpecError, did_you_mean
from shortlist.specs.tasks import Custom, Head
from shortlist.tasks.losses import squared_error


class Pairs(NamedTuple):
    """What a task of yours sees of a batch of B rows.

    scores [B], the head's output; labels [B]; queries [B, q] and candidates [B, c], the towers' vectors;
    items int [B], catalogue positions; users int [B].
    """

    scores: Array
    labels: Array
    queries: Array
    candidates: Array
    items: Array
    users: Array


class Loss(Protocol):
    """A pure function from a batch to one loss an example [B]; `options` are the task's own."""

    def __call__(self, pairs: Pairs, **options: Any) -> Array: ...


_REGISTERED: dict[str, Loss] = {}


def register_task(name: str) -> Callable[[Loss], Loss]:
    """Decorator: make a loss of your own known as `Custom(loss=name)`."""

    def keep(loss: Loss) -> Loss:
        _REGISTERED[name] = loss
        return loss

    return keep


def head_loss(task: Head, pairs: Pairs) -> Array:
    """One loss an example [B]. SpecError where a task of one's own returns another shape."""
    if isinstance(task, Custom):
        losses = registered_loss(task.loss)(pairs, **task.options)
        if losses.shape != pairs.scores.shape:
            raise SpecError(
                f"the task {task.loss!r} gave losses of shape {losses.shape}, expected one an example,"
                f" {pairs.scores.shape}",
                hint="do not average: weights and padding are applied to what it returns",
            )
        return losses
    return squared_error(pairs.scores, pairs.labels)


def registered_loss(name: str) -> Loss:
    """The loss of that name; SpecError where there is none."""
    if name not in _REGISTERED:
        raise SpecError(
            f"no task is registered as {name!r}",
            hint=did_you_mean(name, _REGISTERED) or "shortlist.register_task makes one known",
        )
    return _REGISTERED[name]
