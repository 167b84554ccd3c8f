"""The forward pass of a batch, and the loss that training minimizes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vaeflow.model.modes import in_mode
from vaeflow.model.path_gradient import PathGradient

if TYPE_CHECKING:
    import tensorflow as tf

    from vaeflow.contracts import LatentVariableModel, Objective, Schedule, Terms
    from vaeflow.data.batches import Batch


def path_of(objective: Objective) -> PathGradient | None:
    """Return a new gradient of samples for one forward pass, or None if the objective wants the ordinary one."""
    return PathGradient() if getattr(objective, "path_gradient", False) else None


def forward(
    model: LatentVariableModel, batch: Batch, noise: tf.Tensor, *, training: bool, path: PathGradient | None = None
) -> Terms:
    """Return the terms of a batch, with its examples, its labels and its padding.

    Args:
        model: any model.
        batch: B rows.
        noise: standard normal, [L, B, N].
        training: the mode of the layers.
        path: changes the gradient of the samples.
    """
    more: dict[str, Any] = {} if path is None else {"path": path}
    terms = model.terms(batch.x, noise, labels=batch.labels, valid=batch.valid, training=training, **more)
    return replace(terms, valid=batch.valid, labels=batch.labels, y=batch.y, x=batch.x, path=path)


def loss_of(
    objective: Objective, terms: Terms, schedule: Schedule, step: tf.Tensor, *, training: bool = True
) -> tf.Tensor:
    """Return the objective's loss plus the model's penalty, of each example, [B], nats."""
    loss = in_mode(lambda: objective.loss(terms, schedule, step), training=training)
    return loss if terms.penalty is None else loss + terms.penalty
