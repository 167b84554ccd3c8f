"""How the peers' loops are timed; each of them runs in a process of its own, some without vaeflow."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    import tensorflow as tf


@dataclass(frozen=True)
class Timed:
    """Images per second of a loop, after some steps to warm up.

    Attributes:
        batch: images per step.
        warm_up: steps before the clock starts.
    """

    batch: int
    warm_up: int

    def steps(self, step: Callable[[], object], count: int, per_call: int = 1) -> float:
        """Return the rate of `count` steps; a call takes `per_call` of them."""
        for _ in range(self.warm_up // per_call):
            step()
        started = time.perf_counter()
        for _ in range(count // per_call):
            step()
        return count * self.batch / (time.perf_counter() - started)

    def fit(self, model: keras.Model, batches: tf.data.Dataset, count: int) -> float:
        """Return the rate of `count` steps of Keras's own loop."""
        model.fit(batches, steps_per_epoch=self.warm_up, verbose=0)
        started = time.perf_counter()
        model.fit(batches, steps_per_epoch=count, verbose=0)
        return count * self.batch / (time.perf_counter() - started)


def step_of(model: keras.Model, x: tf.Tensor) -> dict[str, tf.Tensor]:
    """Take one step of a model that returns its loss, as `keras.Model.train_step` does."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = model(x)
    model.optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    return {"loss": loss}
