"""Forward and backward pass of one microbatch, the same on every replica."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import keras
import tensorflow as tf

from vaeflow.data.noise import Noise
from vaeflow.distributed.strategies.graphs import graph
from vaeflow.engine.columns import columns_of
from vaeflow.engine.forward import forward, loss_of, path_of
from vaeflow.engine.layer_state import layer_state, layers_of
from vaeflow.engine.microbatch_sums import Part
from vaeflow.engine.padding import Padding
from vaeflow.engine.players import losses_of, players_of
from vaeflow.model import elbo
from vaeflow.model.latents import noise_size

if TYPE_CHECKING:
    from vaeflow.contracts import LatentVariableModel, Objective, Schedule, Terms
    from vaeflow.data.batches import Batch, Batches
    from vaeflow.engine.loss_scale import LossScale


class Differentiated(NamedTuple):
    """The results of the forward and backward pass of one microbatch.

    Attributes:
        terms: of the ELBO, per example.
        loss: with the model's penalty, [rows], nats.
        of_players: the loss of each player, [rows].
        gradients: of the valid examples' summed loss times the loss scale, one per variable of `trained`, float32; for
            a player's weights, of the player's loss.
        state: new values of the layers' state, float32.
    """

    terms: Terms
    loss: tf.Tensor
    of_players: list[tf.Tensor]
    gradients: list[tf.Tensor]
    state: list[tf.Tensor]


class Microbatches:
    """Splits a step's global batch into V microbatches and computes the gradient of each.

    Args:
        model: any model.
        batches: the training split.
        objective: terms to a loss.
        schedule: the weight of the divergence in the loss.
        loss_scale: factor of the loss before differentiation.
        count: V.
        xla: compile forward and backward with XLA.

    Raises:
        PluginError: see `vaeflow.engine.layer_state.layer_state`.
    """

    def __init__(
        self,
        model: LatentVariableModel,
        batches: Batches,
        objective: Objective,
        schedule: Schedule,
        loss_scale: LossScale,
        *,
        count: int,
        xla: bool,
    ) -> None:
        self.model, self.batches, self.objective, self.schedule = model, batches, objective, schedule
        self.loss_scale = loss_scale
        self.players = players_of(model, objective)
        self.count = count
        self.rows = -(-batches.order.batch_size // count)
        self.noise = Noise(batches.order.seed, "posterior")
        self.layer_noise = Noise(batches.order.seed, "layers")
        self.seeds, self.state = layer_state(model, objective, schedule, classes=batches.classes)
        whole = batches.order.examples % batches.order.batch_size == 0 and batches.order.batch_size % count == 0
        self._padding = Padding([] if whole else layers_of(model))
        self._compiled = graph(self._summed, jit_compile=True) if xla else self._summed

    def part(self, step: tf.Tensor, number: tf.Tensor) -> Part:
        """Return the sums of microbatch `number` of a step; beyond V it is only padding."""
        return self._compiled(*self.inputs(step, number), step, number)

    def inputs(self, step: tf.Tensor, number: tf.Tensor) -> tuple[Batch, tf.Tensor]:
        """Return the examples of microbatch `number` of a step, and their noise [L, rows, N]."""
        first = tf.cast(number, tf.int64) * self.rows
        batch = self.batches.shuffled(step, first, self.rows)
        inside = tf.cast(number < self.count, tf.float32)
        samples, width = self.objective.samples, noise_size(self.model.latents)
        noise = self.noise.samples(step, first, self.rows, samples=samples, width=width)
        return batch._replace(valid=batch.valid * inside), noise

    @property
    def trained(self) -> list[list[keras.Variable]]:
        """The weights of the model, then those of each player."""
        return [self.model.trainable_variables, *(player.variables for player in self.players)]

    def part_signature(self) -> Part:
        """Return the types and shapes of a part."""
        gradients = [tf.TensorSpec(w.shape, tf.float32) for weights in self.trained for w in weights]
        return Part(gradients, [tf.TensorSpec(v.shape, tf.float32) for v in self.state], tf.TensorSpec((None,)))

    def differentiate(self, batch: Batch, noise: tf.Tensor, step: tf.Tensor, number: tf.Tensor) -> Differentiated:
        """Run forward and backward on the result of `inputs`, or on some of its rows; no variable changes."""
        trained = [[w.value for w in weights] for weights in self.trained]
        # A layer's own random numbers (dropout) come from (seed, step, microbatch), not from a counter of the device.
        count = len(self.seeds)
        bits = tf.unstack(self.layer_noise.bits(step, number * count, count, 2))
        seeds = [(v, tf.cast(b, v.dtype)) for v, b in zip(self.seeds, bits, strict=True)]
        with (
            keras.StatelessScope(state_mapping=seeds) as scope,
            self._padding.masked(batch.valid),
            tf.GradientTape(persistent=bool(self.players)) as tape,
        ):
            terms = forward(self.model, batch, noise, training=True, path=path_of(self.objective))
            loss = loss_of(self.objective, terms, self.schedule, step)
            of_players = losses_of(self.players, terms, batch.x, step)
            scaled = [tf.reduce_sum(one * batch.valid) * self.loss_scale.scale for one in (loss, *of_players)]
        gradients = [
            tf.convert_to_tensor(gradient)
            for one, weights in zip(scaled, trained, strict=True)
            for gradient in tape.gradient(one, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        ]
        state = [tf.cast(_current(scope, v), tf.float32) for v in self.state]
        return Differentiated(terms, loss, of_players, gradients, state)

    def _summed(self, batch: Batch, noise: tf.Tensor, step: tf.Tensor, number: tf.Tensor) -> Part:
        done = self.differentiate(batch, noise, step, number)
        examples = tf.reduce_sum(batch.valid)
        return Part(done.gradients, [examples * s for s in done.state], _sums(done, batch.valid))


def _sums(done: Differentiated, valid: tf.Tensor) -> tf.Tensor:
    terms, loss = done.terms, done.loss
    log_likelihood = elbo.expected_log_likelihood(terms.log_likelihood)
    elbo_B = elbo.elbo(terms.log_likelihood, terms.kl)
    columns = tf.stack([tf.ones_like(loss), loss, elbo_B, log_likelihood, terms.kl], axis=1)
    more = [one[:, None] for one in done.of_players]
    return tf.einsum("b,bk->k", valid, tf.concat([columns, columns_of(terms), *more], axis=1))


def _current(scope: keras.StatelessScope, variable: keras.Variable) -> tf.Tensor:
    value = scope.get_current_value(variable)
    return variable.value if value is None else value
