"""Estimates of log p(x) by annealed importance sampling (AIS), which do not depend on the posterior q(z given x).

A chain starts at z from the prior and moves through the densities p(z) p(x given z)^b for b from 0 to 1. Its weight is
the product of p(x given z)^(b_t - b_{t-1}) (Neal 2001). Each move is a step of Hamiltonian Monte Carlo with ten
leapfrog steps, whose size is adapted for each chain: times 1.02 if the proposal was accepted, else 0.98. b follows a
sigmoid (Wu, Burda, Salakhutdinov and Grosse 2017).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.data.noise import Noise
from vaeflow.engine.forward import forward
from vaeflow.engine.importance import ImportanceSampler
from vaeflow.errors import UsageError
from vaeflow.model.latents import noise_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.contracts import LatentGroup

LEAPFROGS = 10
FIRST_STEP = 0.1  # size of a leapfrog step before it is adapted
GROWS, SHRINKS = 1.02, 0.98
SIGMOID = 4.0  # the schedule follows the sigmoid from -4 to 4

State = tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]


class AnnealedSampler(ImportanceSampler):
    """Estimates log p(x) of each example by chains; `samples` is their number per example.

    Args:
        steps: T, the densities between prior and posterior.
        options: of `ImportanceSampler`.

    Raises:
        UsageError: if the model has several groups of latents.
    """

    def __init__(self, *given: Any, steps: int, **options: Any) -> None:
        super().__init__(*given, **options)
        if len(self._model.latents) > 1:
            names = ", ".join(group.name for group in self._model.latents)
            raise UsageError(f"annealing is for models with one group of latents; this one has {names}")
        self._steps = steps
        seed, split = options["seed"], self._batches.split
        self._start, self._momenta = Noise(seed, f"annealing/z/{split}"), Noise(seed, f"annealing/momentum/{split}")
        self._accept = Noise(seed, f"annealing/accept/{split}")

    @property
    def _group_of_z(self) -> LatentGroup:
        return self._model.latents[0]

    def _log_weights(self, first: tf.Tensor, chunk: tf.Tensor) -> tf.Tensor:
        """Return the logarithms of the weights of a tile of chains, [S, E]; -inf for chains beyond K."""
        examples, samples = self.tile
        width = self._group_of_z.generation_noise_size
        drawn = self._start.normal(chunk, first, examples, samples * width)
        noise = tf.transpose(tf.reshape(drawn, (examples, samples, width)), (1, 0, 2))
        with keras.StatelessScope(state_mapping=self._average.mapping()):
            log_prior, log_likelihood, sample = self._densities(first)
            z = sample(noise)
            weights = tf.zeros((samples, examples))
            state = (tf.constant(1, tf.int64), z, weights, tf.fill((samples, examples), FIRST_STEP))

            def move(step: tf.Tensor, z: tf.Tensor, weights: tf.Tensor, size: tf.Tensor) -> State:
                before, now = self._power(step - 1), self._power(step)
                weights += (now - before) * log_likelihood(z)
                momentum, uniform = self._noise_of(step + chunk * (self._steps + 1), first, z)
                z, size = hamiltonian(lambda at: log_prior(at) + now * log_likelihood(at), z, size, momentum, uniform)
                return step + 1, z, weights, size

            _, _, weights, _ = tf.while_loop(lambda step, *_: step <= self._steps, move, state, parallel_iterations=1)
        chain = chunk * samples + tf.range(samples, dtype=tf.int64)
        return tf.where((chain < self._samples)[:, None], weights, -float("inf"))

    def _densities(self, first: tf.Tensor) -> tuple[Callable[..., tf.Tensor], ...]:
        """Return log p(z) and log p(x given z) of z [S, E, *shape], [S, E], and the prior's samples of noise."""
        examples, samples = self.tile
        name, shape = self._group_of_z.name, self._group_of_z.shape
        batch = self._batches.in_order(first, examples)
        still = tf.zeros((1, examples, noise_size(self._model.latents)))
        prior = forward(self._model, batch, still, training=False).p[name]
        x = tf.tile(batch.x, (samples, *(1,) * (batch.x.shape.rank - 1)))
        labels = None if batch.labels is None else tf.tile(batch.labels, (samples, 1))

        def log_likelihood(z: tf.Tensor) -> tf.Tensor:
            p_x = self._model.decode({name: tf.reshape(z, (-1, *shape))}, labels=labels)
            return tf.reshape(p_x.log_prob(x), (samples, examples))

        return prior.log_prob, log_likelihood, prior.sample

    def _power(self, step: tf.Tensor) -> tf.Tensor:
        """Return b of a step: 0 at 0 and 1 at T, a sigmoid between."""
        low, high = tf.sigmoid(-SIGMOID), tf.sigmoid(SIGMOID)
        at = tf.sigmoid(SIGMOID * (2.0 * tf.cast(step, tf.float32) / self._steps - 1.0))
        return (at - low) / (high - low)

    def _noise_of(self, step: tf.Tensor, first: tf.Tensor, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the momenta, of the shape of z, and uniform numbers [S, E], of one step of a tile."""
        samples, examples, *shape = z.shape
        size = int(tf.TensorShape(shape).num_elements())
        drawn = self._momenta.normal(step, first, examples, samples * size)
        momentum = tf.transpose(tf.reshape(drawn, (examples, samples, size)), (1, 0, 2))
        uniform = tf.transpose(self._accept.uniform(step, first, examples, samples))
        return tf.reshape(momentum, z.shape), uniform


def hamiltonian(
    log_density: Callable[[tf.Tensor], tf.Tensor],
    z: tf.Tensor,
    size: tf.Tensor,
    momentum: tf.Tensor,
    uniform: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the next states of chains and their step sizes, by one step of Hamiltonian Monte Carlo.

    Args:
        log_density: from z to [S, E], up to a constant; the chains are independent.
        z: [S, E, *shape].
        size: of a leapfrog step, [S, E].
        momentum: standard normal, of the shape of z.
        uniform: in (0, 1), [S, E].
    """
    axes = list(range(2, z.shape.rank))
    step = tf.reshape(size, (*size.shape, *(1,) * len(axes)))

    def gradient(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(at)
            value = log_density(at)
        return value, tape.gradient(value, at)

    before, slope = gradient(z)
    energy = before - 0.5 * tf.reduce_sum(tf.square(momentum), axis=axes)
    moved, velocity = z, momentum + 0.5 * step * slope
    for number in range(LEAPFROGS):
        moved += step * velocity
        after, slope = gradient(moved)
        velocity += (0.5 if number == LEAPFROGS - 1 else 1.0) * step * slope
    change = after - 0.5 * tf.reduce_sum(tf.square(velocity), axis=axes) - energy
    accepted = tf.math.log(uniform) < change  # a change that is not finite is rejected
    chosen = tf.reshape(accepted, step.shape)
    return tf.where(chosen, moved, z), size * tf.where(accepted, GROWS, SHRINKS)
