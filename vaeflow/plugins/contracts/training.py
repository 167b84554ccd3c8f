"""What a training step is made of besides the model: schedules, objectives, metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import tensorflow as tf

    from vaeflow.plugins.contracts.terms import Terms


@dataclass(frozen=True)
class Timeline:
    """The length of a run, for schedules that count in epochs or end with the run.

    Attributes:
        steps_per_epoch: optimizer steps in one pass over the training examples.
        total_steps: optimizer steps of the whole run.
    """

    steps_per_epoch: int
    total_steps: int


class Schedule(Protocol):
    """The weight of the KL divergence in the loss over training."""

    def weight(self, step: tf.Tensor) -> tf.Tensor:
        """Return the scalar float32 weight of the divergence at a step (for the log)."""

    def penalty(self, kl: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Return the contribution of KL(q, p) [B] to the loss of each example at a step, [B], nats."""


class Objective(Protocol):
    """Computes a loss from the terms of the ELBO.

    An attribute `per_example = False` declares that the loss of an example depends on the other examples of its
    microbatch. Such a loss must exclude padding by `terms.valid`, and its bits depend on the number of microbatches, as
    those of batch normalization do.
    """

    @property
    def samples(self) -> int:
        """L, the samples of z per example in a training step."""

    def loss(self, terms: Terms, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """Return the loss of each example, [B], nats; the engine differentiates its sum."""


class Metric(Protocol):
    """A value per example, whose mean over a split is logged as `SPLIT/NAME` after each evaluation."""

    def __call__(self, x: tf.Tensor, terms: Terms) -> tf.Tensor:
        """Return [B] float32 for examples x [B, *X] and the results of one forward pass; do not sum over B."""
