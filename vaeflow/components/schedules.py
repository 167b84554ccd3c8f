"""Built-in schedules: the weight of the KL divergence over training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    import tensorflow as tf

    from vaeflow.contracts import Schedule, Timeline

Weight = Annotated[float, Field(ge=0)]
Epochs = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class Ramp:
    """A weight that changes linearly from `start` to `end`, once or in cycles.

    Attributes:
        start: weight at the beginning of a ramp.
        end: weight at its end and after it.
        ramp_steps: steps of a ramp.
        cycle_steps: steps from the beginning of one ramp to the next; 0 ramps once.
    """

    start: float
    end: float
    ramp_steps: float
    cycle_steps: float = 0.0

    def weight(self, step: tf.Tensor) -> tf.Tensor:
        """Return the weight at a step, a float32 scalar."""
        import tensorflow as tf

        position = tf.cast(step, tf.float64)
        if self.cycle_steps:
            position = tf.math.floormod(position, self.cycle_steps)
        share = tf.minimum(position / self.ramp_steps, 1.0)
        return tf.cast(self.start + (self.end - self.start) * share, tf.float32)

    def penalty(self, kl: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Return weight * KL, [B], nats."""
        return self.weight(step) * kl


@dataclass(frozen=True)
class Capacity:
    """gamma * |KL - C|, with C growing linearly from 0 (Burgess et al. 2018).

    Attributes:
        gamma: weight of the distance.
        target: C in nats as a function of the step.
    """

    gamma: float
    target: Ramp

    def weight(self, step: tf.Tensor) -> tf.Tensor:
        """Return gamma, a float32 scalar."""
        import tensorflow as tf

        del step
        return tf.constant(self.gamma, tf.float32)

    def penalty(self, kl: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """Return gamma * |KL - C| of each example, [B], nats."""
        import tensorflow as tf

        return self.gamma * tf.abs(kl - self.target.weight(step))


def constant(timeline: Timeline, *, weight: Weight = 1.0) -> Schedule:
    """The same weight at every step; with 1 the objective is the ELBO.

    Args:
        timeline: the length of the run.
        weight: of the KL divergence.
    """
    del timeline
    return Ramp(weight, weight, ramp_steps=1.0)


def linear(timeline: Timeline, *, start: Weight = 0.0, end: Weight = 1.0, epochs: Epochs = 10.0) -> Schedule:
    """Warm-up: the weight grows linearly (Bowman et al. 2016; Sonderby et al. 2016).

    Args:
        timeline: the length of the run.
        start: weight at the first step.
        end: weight after the warm-up.
        epochs: length of the warm-up.
    """
    return Ramp(start, end, ramp_steps=epochs * timeline.steps_per_epoch)


def cyclical(
    timeline: Timeline, *, start: Weight = 0.0, end: Weight = 1.0, epochs: Epochs = 10.0, ramp: Share = 0.5
) -> Schedule:
    """Repeated warm-up, in cycles (Fu et al. 2019).

    Args:
        timeline: the length of the run.
        start: weight at the beginning of a cycle.
        end: weight after its ramp.
        epochs: length of a cycle.
        ramp: fraction of a cycle in which the weight grows.
    """
    cycle_steps = epochs * timeline.steps_per_epoch
    return Ramp(start, end, ramp_steps=ramp * cycle_steps, cycle_steps=cycle_steps)


def capacity(
    timeline: Timeline, *, gamma: Weight = 100.0, nats: Annotated[float, Field(ge=0)] = 25.0, epochs: Epochs = 10.0
) -> Schedule:
    """Keeps each example's KL divergence near a capacity that grows linearly from 0 (Burgess et al. 2018).

    Args:
        timeline: the length of the run.
        gamma: weight of the distance from the capacity.
        nats: final capacity.
        epochs: epochs in which it grows.
    """
    return Capacity(gamma, Ramp(0.0, nats, ramp_steps=epochs * timeline.steps_per_epoch))
