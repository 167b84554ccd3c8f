"""Estimates of log p(x) by importance sampling, computed in tiles of one size.

log p(x) is estimated by log (1/K) sum_k w_k with w_k = p(x given z_k) p(z_k) / q(z_k given x) and z_k from q(z given x)
(Burda, Grosse and Salakhutdinov 2015, equation 8). The sum is kept as its largest term and the rest relative to it, so
only one tile of samples is in memory.

A tile has S samples of each of E examples. E and S depend on the model alone, and the noise of a tile on the seed, its
examples and its samples. So an example's estimate depends on nothing else: not on the other examples, on how many tiles
are computed at a time, or on the number of replicas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from vaeflow.data.noise import Noise
from vaeflow.distributed.strategies.gather import gather
from vaeflow.distributed.strategies.graphs import graph
from vaeflow.engine.forward import forward
from vaeflow.model.latents import noise_size
from vaeflow.model.memory_estimate import forward_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.contracts import LatentVariableModel
    from vaeflow.data.batches import Batches
    from vaeflow.distributed.strategies.base import Strategy
    from vaeflow.model.moving_average import MovingAverage

TILE_BYTES = 32 * 2**20  # of a tile's largest arrays: beyond a processor's caches, larger tiles are no faster
MOST_ROWS = 1_000  # samples times examples
MOST_SAMPLES = 100  # per example: the encoder is called once for these
COLUMNS = 2  # of an example: log p(x), and the sum of squares of normalized weights


class Tile(NamedTuple):
    """The size of a tile.

    Attributes:
        examples: E.
        samples: S.
    """

    examples: int
    samples: int

    @classmethod
    def of(cls, model: LatentVariableModel) -> Tile:
        """Return the size of a model's tiles: about 32 MiB, and at most 1,000 samples of z."""
        rows = max(1, min(MOST_ROWS, int(TILE_BYTES / max(1.0, forward_bytes(model)))))
        samples = min(MOST_SAMPLES, rows)
        return cls(rows // samples, samples)


@dataclass(frozen=True)
class LogLikelihood:
    """Estimates of log p(x) of a split.

    Attributes:
        values: log p(x) of each example, [N] float64 nats.
        effective: effective number of samples of each example, (sum w)^2 / sum w^2, [N] float64.
        samples: K.
    """

    values: np.ndarray
    effective: np.ndarray
    samples: int

    @property
    def mean(self) -> float:
        """The mean over examples, nats."""
        return float(self.values.mean())

    @property
    def standard_error(self) -> float:
        """The standard error of the mean over examples, nats: how well the split represents the data."""
        return float(self.values.std(ddof=1) / math.sqrt(len(self.values))) if len(self.values) > 1 else math.nan

    @property
    def monte_carlo_error(self) -> float:
        """The standard error of the mean for these examples, nats: how well K samples estimate it.

        The relative variance of an example's mean weight is estimated by 1 / effective - 1 / K (delta method).
        """
        variances = np.maximum(0.0, 1.0 / self.effective - 1.0 / self.samples)
        return float(np.sqrt(variances.sum()) / len(variances))


class ImportanceSampler:
    """Estimates log p(x) of each example of a split, with the current weights or their EMA.

    Args:
        strategy: runs the replicas, which share the examples.
        model: any model whose latents are not deterministic.
        batches: the split.
        average: moving averages of the weights.
        samples: K.
        seed: of the noise.
        concurrent: tiles that a replica may compute at a time.

    Attributes: `tile`, its size; `concurrent`, which may be set before the first call.
    """

    def __init__(
        self,
        strategy: Strategy,
        model: LatentVariableModel,
        batches: Batches,
        average: MovingAverage,
        *,
        samples: int,
        seed: int,
        concurrent: int = 1,
    ) -> None:
        self._strategy, self._model, self._batches, self._average = strategy, model, batches, average
        self._samples, self.concurrent = samples, concurrent
        self._noise = Noise(seed, f"importance/{batches.split}")
        self.tile = Tile.of(model)
        self._compiled = graph(self._groups)

    @property
    def groups(self) -> int:
        """Groups of E examples, which are computed one after the other."""
        return -(-self._batches.examples // self.tile.examples)

    def results(self, first: int, share: int) -> np.ndarray:
        """Return the columns of `share` groups per replica, [examples, 2], from a group on; all processes call this."""
        found = self._compiled(tf.constant(first, tf.int64), share).numpy().reshape((-1, COLUMNS))
        start = first * self.tile.examples
        return found[: max(0, self._batches.examples - start)]

    def all_results(self, share: int = 1) -> Iterator[np.ndarray]:
        """Yield the columns of all groups in their order."""
        for first in range(0, self.groups, share * self._strategy.replicas):
            yield self.results(first, share)

    def estimate(self, columns: np.ndarray) -> LogLikelihood:
        """Return the estimates for the columns of all examples."""
        return LogLikelihood(columns[:, 0], 1.0 / columns[:, 1], self._samples)

    def _groups(self, first: tf.Tensor, share: int) -> tf.Tensor:
        return self._strategy.local(self._strategy.run(self._own_share, first, share))

    def _own_share(self, first: tf.Tensor, share: int) -> tf.Tensor:
        numbers = first + tf.cast(self._strategy.replica(), tf.int64) * share + tf.range(share, dtype=tf.int64)
        spec = tf.TensorSpec((self.tile.examples, COLUMNS), tf.float64)
        return gather(
            self._strategy, [tf.map_fn(self._group, numbers, parallel_iterations=1, fn_output_signature=spec)]
        )[0]

    def _group(self, number: tf.Tensor) -> tf.Tensor:
        """Return log p(x) and the sum of squares of normalized weights of E examples, [E, 2]."""
        count, (examples, samples) = -(-self._samples // self.tile.samples), self.tile
        spec = tf.TensorSpec((samples, examples), tf.float32)
        at_once = min(self.concurrent, count)
        largest = tf.fill((examples,), tf.constant(-math.inf, tf.float64))
        zeros = tf.zeros((examples,), tf.float64)

        def step(
            block: tf.Tensor, largest: tf.Tensor, total: tf.Tensor, squares: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
            chunks = block * at_once + tf.range(at_once, dtype=tf.int64)
            found = tf.map_fn(
                lambda chunk: self._log_weights(number * examples, chunk),
                chunks,
                parallel_iterations=at_once,
                fn_output_signature=spec,
            )
            for log_weights in tf.unstack(tf.cast(found, tf.float64)):  # in their order, whatever `at_once` is
                largest, total, squares = _added(log_weights, largest, total, squares)
            return block + 1, largest, total, squares

        blocks = -(-count // at_once)
        _, largest, total, squares = tf.while_loop(
            lambda block, *_: block < blocks,
            step,
            (tf.constant(0, tf.int64), largest, zeros, zeros),
            parallel_iterations=1,
        )
        log_mean = largest + tf.math.log(total) - math.log(self._samples)
        return tf.stack([log_mean, squares / tf.square(total)], axis=1)

    def _log_weights(self, first: tf.Tensor, chunk: tf.Tensor) -> tf.Tensor:
        """Return log p(x, z) - log q(z given x) of a tile, [S, E]; -inf for samples beyond K."""
        examples, samples = self.tile
        width = noise_size(self._model.latents)
        drawn = self._noise.normal(chunk, first, examples, samples * width)
        noise = tf.transpose(tf.reshape(drawn, (examples, samples, width)), (1, 0, 2))
        batch = self._batches.in_order(first, examples)
        with keras.StatelessScope(state_mapping=self._average.mapping()):
            terms = forward(self._model, batch, noise, training=False)
            log_weights = terms.log_likelihood + terms.log_p - terms.log_q
        sample = chunk * samples + tf.range(samples, dtype=tf.int64)
        return tf.where((sample < self._samples)[:, None], log_weights, -math.inf)


def _added(
    log_weights: tf.Tensor, largest: tf.Tensor, total: tf.Tensor, squares: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Add a tile's weights [S, E] to sums of weights and of their squares, [E], both relative to the largest."""
    new = tf.maximum(largest, tf.reduce_max(log_weights, axis=0))
    finite = tf.where(tf.math.is_finite(new), new, tf.zeros_like(new))
    scale, weights = tf.exp(largest - finite), tf.exp(log_weights - finite)
    total = total * scale + tf.reduce_sum(weights, axis=0)
    squares = squares * tf.square(scale) + tf.reduce_sum(tf.square(weights), axis=0)
    return new, total, squares
