"""The training step: forward, backward, reduce, clip, apply; many steps per execution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from vaeflow.distributed.strategies.graphs import graph
from vaeflow.engine.step_row import StepRow

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras

    from vaeflow.distributed.strategies.base import Strategy
    from vaeflow.engine.microbatch import Microbatches
    from vaeflow.engine.microbatch_sums import Part
    from vaeflow.engine.reduce import Reduction
    from vaeflow.model.moving_average import MovingAverage


class Update(NamedTuple):
    """The update of the weights after the all-reduce.

    Attributes:
        gradients: of the mean loss per example, one per variable of `Microbatches.trained`; the model's are clipped.
        state: new values of the layers' state.
        finite: whether all sums are finite.
        applied: whether the update is applied.
        row: a packed `StepRow`.
    """

    gradients: list[tf.Tensor]
    state: list[tf.Tensor]
    finite: tf.Tensor
    applied: tf.Tensor
    row: tf.Tensor


@dataclass(frozen=True)
class TrainStep:
    """One optimizer step on a global batch, the same on every strategy.

    Attributes:
        microbatches: computes the gradients.
        optimizer: a Keras optimizer, built.
        average: moving average of the weights.
        strategy: runs the replicas.
        reduction: sums microbatches.
        clip_norm: largest global norm of the gradient of the mean loss; None does not clip.
        skip_norm: a step whose gradient has a larger norm is not applied; None skips none.
    """

    microbatches: Microbatches
    optimizer: keras.optimizers.Optimizer
    average: MovingAverage
    strategy: Strategy
    reduction: Reduction
    clip_norm: float | None
    skip_norm: float | None = None

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Train on the batch of a step; return its packed `StepRow`."""
        update = self.strategy.run(self._differentiate, step)
        # Outside the replicas, because tf.distribute can't update variables inside a conditional in a replica.
        tf.cond(self.strategy.local(update.applied), lambda: self._run(self._apply, update), lambda: None)
        self._run(self._rescale, update)
        return self.strategy.local(update.row)

    def is_bad(self, row: tf.Tensor) -> tf.Tensor:
        """Return whether a step was skipped as not finite, and not by an overflow of a dynamic loss scale."""
        unpacked = StepRow.unpack(row)
        skipped = unpacked.skipped > 0.0
        if self.skip_norm is not None:  # a large gradient that is finite was skipped on purpose
            skipped &= ~(tf.math.is_finite(unpacked.loss) & (unpacked.gradient_norm > self.skip_norm))
        return skipped & ~tf.math.is_finite(unpacked.loss) if self.microbatches.loss_scale.dynamic else skipped

    def _run(self, function: Callable[[Update], None], update: Update) -> None:
        self.strategy.run(function, update)

    def _differentiate(self, step: tf.Tensor) -> Update:
        """Forward, backward, reduce, clip."""
        total = self.total(step)
        examples = total.sums[0]
        divisor = examples * self.microbatches.loss_scale.scale
        own = len(self.microbatches.model.trainable_variables)
        gradients, of_players = ([g / divisor for g in some] for some in (total.gradients[:own], total.gradients[own:]))
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(norm) & tf.math.is_finite(total.sums[1])
        if of_players:
            finite &= tf.math.is_finite(tf.linalg.global_norm(of_players))
        applied = finite if self.skip_norm is None else finite & (norm <= self.skip_norm)
        if self.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip_norm, use_norm=norm)
        state, row = [s / examples for s in total.state], self._row(step, total, norm, applied)
        return Update([*gradients, *of_players], state, finite, applied, row.pack())

    def total(self, step: tf.Tensor) -> Part:
        """Return the sum over the microbatches of all replicas."""
        summed = self.reduction.sum(self._own_parts(step), self.strategy)
        return self.reduction.unpack(summed, self.microbatches.part_signature())

    def own_microbatches(self) -> tf.Tensor:
        """Return the numbers of this replica's microbatches, [share] int64."""
        share = -(-self.microbatches.count // self.strategy.replicas)
        return tf.cast(self.strategy.replica(), tf.int64) * share + tf.range(share, dtype=tf.int64)

    def _own_parts(self, step: tf.Tensor) -> Part:
        """Return the stacked parts of this replica's microbatches, from one loop body, so that all round alike."""
        numbers = self.own_microbatches()
        share = numbers.shape[0]
        if share == 1:
            return tf.nest.map_structure(lambda t: t[None], self._packed_part(step, numbers[0]))
        return tf.map_fn(
            lambda number: self._packed_part(step, number),
            numbers,
            fn_output_signature=self.reduction.packed(self.microbatches.part_signature()),
            parallel_iterations=share,
        )

    def _packed_part(self, step: tf.Tensor, number: tf.Tensor) -> Part:
        return self.reduction.pack(self.microbatches.part(step, number))

    def _row(self, step: tf.Tensor, total: Part, norm: tf.Tensor, applied: tf.Tensor) -> StepRow:
        examples, summed = total.sums[0], total.sums[1:]
        loss, elbo, log_likelihood, kl = tf.unstack((summed / examples)[:4])
        return StepRow(
            examples=examples,
            loss=loss,
            elbo=elbo,
            log_likelihood=log_likelihood,
            kl=kl,
            gradient_norm=norm,
            learning_rate=tf.cast(self.optimizer.learning_rate, tf.float32),
            kl_weight=self.microbatches.schedule.weight(step),
            loss_scale=tf.identity(self.microbatches.loss_scale.scale),
            skipped=1.0 - tf.cast(applied, tf.float32),
            kl_terms=(summed / examples)[4:],
        )

    def _apply(self, update: Update) -> None:
        """Update the weights of the model and of its players, the layers' state and the EMA."""
        # First weights that a layer changes itself, as Keras does in the forward pass; then the optimizer's.
        self.strategy.assign([v.value for v in self.microbatches.state], update.state)
        optimizers = [self.optimizer, *(player.optimizer for player in self.microbatches.players)]
        gradients = iter(update.gradients)
        for optimizer, weights in zip(optimizers, self.microbatches.trained, strict=True):
            optimizer.apply([next(gradients) for _ in weights], weights)
        self.strategy.assign(self.average.variables, self.average.next())

    def _rescale(self, update: Update) -> None:
        loss_scale = self.microbatches.loss_scale
        if loss_scale.dynamic:
            self.strategy.assign(loss_scale.variables, loss_scale.next(update.finite))


class Trainer:
    """Runs many steps per execution of a compiled function, like Keras's `steps_per_execution`.

    Attributes:
        step: the training step.
        until_bad: whether a call ends after a step for which `TrainStep.is_bad` holds.
    """

    def __init__(self, step: TrainStep, *, until_bad: bool = False) -> None:
        self.step, self.until_bad = step, until_bad
        scalar = tf.TensorSpec((), tf.int64)
        self._compiled = graph(self._steps_until_bad if until_bad else self._steps, input_signature=[scalar] * 2)

    def execute(self, first: int, count: int) -> tf.Tensor:
        """Take steps [first, first + count), or fewer with `until_bad`.

        Returns:
            The packed `StepRow` of each step that was taken, [taken, 10 + K].
        """
        return self._compiled(tf.constant(first, tf.int64), tf.constant(count, tf.int64))

    @property
    def traces(self) -> int:
        """How often the steps were traced."""
        return int(self._compiled.experimental_get_tracing_count())

    @property
    def rows(self) -> int:
        """Examples per microbatch."""
        return self.step.microbatches.rows

    def _steps(self, first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        rows = tf.TensorArray(tf.float32, size=tf.cast(count, tf.int32))

        def body(i: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            return i + 1, rows.write(tf.cast(i, tf.int32), self.step(first + i))

        _, rows = tf.while_loop(lambda i, _: i < count, body, (tf.constant(0, tf.int64), rows), parallel_iterations=1)
        return rows.stack()

    def _steps_until_bad(self, first: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        rows = tf.TensorArray(tf.float32, size=tf.cast(count, tf.int32))

        def body(i: tf.Tensor, _: tf.Tensor, rows: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
            row = self.step(first + i)
            return i + 1, self.step.is_bad(row), rows.write(tf.cast(i, tf.int32), row)

        start = (tf.constant(0, tf.int64), tf.constant(False), rows)
        taken, _, rows = tf.while_loop(lambda i, bad, _: (i < count) & ~bad, body, start, parallel_iterations=1)
        return rows.gather(tf.range(tf.cast(taken, tf.int32)))
