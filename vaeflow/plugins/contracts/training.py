"""What a training step is made of besides the model: schedules, objectives, metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
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
    those of batch normalization do. An attribute `players` is a tuple of `Player`.
    An attribute `path_gradient = True` asks for samples whose gradient the objective can weigh, see `PathGradient`;
    only models whose `terms` has a keyword `path` have it. An attribute `kl_weight_only = True` declares that the loss
    uses `schedule.weight` instead of `schedule.penalty`; a schedule whose penalty is not weight * KL is then an error.
    """

    @property
    def samples(self) -> int:
        """L, the samples of z per example in a training step."""

    def loss(self, terms: Terms, schedule: Schedule, step: tf.Tensor) -> tf.Tensor:
        """Return the loss of each example, [B], nats; the engine differentiates its sum."""


@dataclass(frozen=True, eq=False)
class Player:
    """A second player: weights that a loss of their own trains, in the same step as the model's (a discriminator).

    An objective or a model that has players names them in an attribute `players`, a tuple. The step differentiates the
    objective's loss for the model's weights and each player's loss for the player's, from one forward pass; then all
    are changed. Neither loss trains the other's weights, so neither must stop gradients.

    Attributes:
        name: in logs (`train/loss/NAME`) and in checkpoints; letters, digits, hyphens and underscores.
        network: the layers with the player's weights; they have no other state (batch normalization, dropout).
        optimizer: of the player's weights, built by vaeflow.
        loss: takes the terms, x [B, *X] and the step; returns the player's loss of each example, [B] float32. It must
            exclude padding by `terms.valid` if it looks at several examples.
    """

    name: str
    network: keras.layers.Layer
    optimizer: keras.optimizers.Optimizer
    loss: Callable[[Terms, tf.Tensor, tf.Tensor], tf.Tensor]

    @property
    def variables(self) -> list[keras.Variable]:
        """The player's weights."""
        found: list[keras.Variable] = self.network.trainable_variables
        return found


class Metric(Protocol):
    """A value per example, whose mean over a split is logged as `SPLIT/NAME` after each evaluation.

    What is no mean over examples is a `SplitMetric`.
    """

    def __call__(self, x: tf.Tensor, terms: Terms) -> tf.Tensor:
        """Return [B] float32 for examples x [B, *X] and the results of one forward pass; do not sum over B."""
