"""The first parts of a training step on their own, to measure what each takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.distributed.strategies.graphs import graph
from vaeflow.engine.forward import forward, loss_of, path_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.engine.step import TrainStep


class StepParts:
    """Compiled loops over steps that end after input, forward pass, backward pass or exchange; no weight changes.

    Args:
        step: the training step.
    """

    def __init__(self, step: TrainStep) -> None:
        self._step = step
        ends = {
            "input": self._input,
            "forward": self._forward,
            "backward": self._backward,
            "exchange": self._exchange,
        }
        self._loops = {name: self._loop(end) for name, end in ends.items()}

    def execute(self, part: str, first: int, count: int) -> None:
        """Take steps [first, first + count) up to the end of a part, on all replicas; return when they are done."""
        self._loops[part](tf.constant(first, tf.int64), tf.constant(count, tf.int64)).numpy()

    def operations(self) -> int:
        """Return the floating-point operations of forward and backward pass per example, by TensorFlow's count.

        The count has matrix products and convolutions, and most other operations not at all.
        """
        microbatches = self._step.microbatches
        zero = tf.constant(0, tf.int64)

        @graph
        def gradients() -> list[tf.Tensor]:
            return microbatches.differentiate(*microbatches.inputs(zero, zero), zero, zero).gradients

        profiler = tf.compat.v1.profiler
        options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation()).with_empty_output()
        counted = profiler.profile(gradients.get_concrete_function().graph, cmd="op", options=options.build())
        return int(counted.total_float_ops) // microbatches.rows

    def _loop(self, end: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
        scalar = tf.TensorSpec((), tf.int64)
        strategy = self._step.strategy

        def steps(first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
            def body(i: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return i + 1, total + strategy.local(strategy.run(end, first + i))

            start = (tf.constant(0, tf.int64), tf.constant(0.0))
            return tf.while_loop(lambda i, _: i < count, body, start, parallel_iterations=1)[1]

        return graph(steps, input_signature=[scalar] * 2)

    def _input(self, step: tf.Tensor) -> tf.Tensor:
        return self._over_microbatches(lambda number: _touched(self._step.microbatches.inputs(step, number)))

    def _forward(self, step: tf.Tensor) -> tf.Tensor:
        own = self._step.microbatches

        def loss(number: tf.Tensor) -> tf.Tensor:
            batch, noise = own.inputs(step, number)
            terms = forward(own.model, batch, noise, training=True, path=path_of(own.objective))
            return tf.reduce_sum(loss_of(own.objective, terms, own.schedule, step))

        return self._over_microbatches(loss)

    def _backward(self, step: tf.Tensor) -> tf.Tensor:
        return self._over_microbatches(lambda number: _touched(self._step.microbatches.part(step, number)))

    def _exchange(self, step: tf.Tensor) -> tf.Tensor:
        return _touched(self._step.total(step))

    def _over_microbatches(self, function: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        numbers = self._step.own_microbatches()
        found = tf.map_fn(function, numbers, fn_output_signature=tf.float32, parallel_iterations=numbers.shape[0])
        return tf.reduce_sum(found)


def _touched(tensors: object) -> tf.Tensor:
    """Return a number that needs all of some tensors: TensorFlow does not compute what nobody needs."""
    flat = [t for t in tf.nest.flatten(tensors) if t is not None]
    return tf.add_n([tf.cast(tf.reshape(t, (-1,))[0], tf.float32) for t in flat])
