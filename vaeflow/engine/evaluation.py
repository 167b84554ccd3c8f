"""The ELBO of a split, computed per example, so that the order of addition does not matter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from vaeflow.data.noise import Noise
from vaeflow.distributed.strategies.gather import gather
from vaeflow.distributed.strategies.graphs import graph
from vaeflow.model import elbo
from vaeflow.model.modes import in_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vaeflow.contracts import Metric, Terms
    from vaeflow.data.batches import Batches
    from vaeflow.distributed.strategies.base import Strategy
    from vaeflow.model.moving_average import MovingAverage
    from vaeflow.model.vae import VAE

ACTIVE_VARIANCE = 0.01
BATCHES_PER_CALL = 25  # with one sample of z; fewer with more, so that signals are handled soon


@dataclass(frozen=True)
class Evaluation:
    """Means over the examples of a split.

    Attributes:
        examples: their number.
        log_likelihood: E log p(x given z), nats per example.
        kl: KL(q, p), nats per example.
        kl_per_dimension: [D] nats; empty if the divergence is not a sum over dimensions.
        active_units: latent dimensions whose posterior mean has a variance above 0.01 over the split (Burda et al.
            2015).
        metrics: of the config, by name.
    """

    examples: int
    log_likelihood: float
    kl: float
    kl_per_dimension: np.ndarray
    active_units: int
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def elbo(self) -> float:
        """The ELBO on log p(x), nats per example (equation 6)."""
        return self.log_likelihood - self.kl

    def scalars(self, split: str) -> dict[str, float]:
        """Return the metrics by their names in the log, `test/elbo` and so on."""
        return {
            f"{split}/elbo": self.elbo,
            f"{split}/log_likelihood": self.log_likelihood,
            f"{split}/kl": self.kl,
            f"{split}/active_units": float(self.active_units),
            **{f"{split}/{name}": value for name, value in self.metrics.items()},
        }


def figures(evaluations: Mapping[str, Evaluation]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the scalars of all splits by their names in logs, and by split the divergence per dimension, [D] nats."""
    scalars = {name: value for split, one in evaluations.items() for name, value in one.scalars(split).items()}
    return scalars, {split: one.kl_per_dimension for split, one in evaluations.items() if one.kl_per_dimension.size}


class Evaluator:
    """Evaluates a split with the current weights, or with their EMA if there is one.

    Replicas share the batches, and the terms of each example are collected unchanged: the metrics do not depend on the
    number of replicas.

    Args:
        strategy: runs the replicas.
        model: the autoencoder.
        batches: the split.
        average: moving averages of the weights.
        batch_size: examples at a time; kernels may round differently for another number.
        samples: L, the samples of z per example.
        seed: of the noise, the same at every evaluation.
        metrics: of the config, by name.
    """

    def __init__(
        self,
        strategy: Strategy,
        model: VAE,
        batches: Batches,
        average: MovingAverage,
        *,
        batch_size: int,
        samples: int,
        seed: int,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        self._strategy = strategy
        self._model, self._batches, self._average = model, batches, average
        self._rows, self._samples, self._metrics = batch_size, samples, dict(metrics or {})
        self._noise = Noise(seed, f"evaluation/{batches.split}")
        noise = tf.zeros((1, 1, model.posterior.noise_size))
        kl_terms = int(model.terms(tf.zeros((1, *model.x_shape)), noise).kl_terms.shape[1])
        self._width = 2 + len(self._metrics) + kl_terms + model.latent_size
        self._compiled = graph(self._chunk)

    def __call__(self, between: Callable[[], object] = lambda: None) -> Evaluation:
        """Return the evaluation of the split; every process of the job must call this.

        Args:
            between: called after every few batches; its errors end the evaluation.
        """
        count, latent = self._batches.examples, self._model.latent_size
        chunks = []
        for chunk in self._chunks():
            chunks.append(chunk)
            between()
        table = np.concatenate(chunks)[:count].astype(np.float64)
        log_likelihood, kl = (float(v) for v in table[:, :2].mean(axis=0))
        first = 2 + len(self._metrics)
        metrics = dict(zip(self._metrics, table[:, 2:first].mean(axis=0).tolist(), strict=True))
        terms, mean = table[:, first:-latent], table[:, -latent:]
        per_dimension = terms.mean(axis=0) if terms.shape[1] == latent else np.empty(0)
        active = int(np.sum(mean.var(axis=0) > ACTIVE_VARIANCE))
        return Evaluation(count, log_likelihood, kl, per_dimension, active, metrics)

    def _chunks(self) -> Iterator[np.ndarray]:
        """Yield rows of the table of all examples, in the order they are stored."""
        batches = -(-self._batches.examples // self._rows)
        at_a_time = max(self._strategy.replicas, BATCHES_PER_CALL // self._samples)
        for first in range(0, batches, at_a_time):
            share = -(-min(at_a_time, batches - first) // self._strategy.replicas)
            chunk = self._compiled(tf.constant(first, tf.int64), share).numpy()
            yield chunk.reshape((-1, self._width))[: at_a_time * self._rows]

    def _chunk(self, first: tf.Tensor, share: int) -> tf.Tensor:
        """Return the table for `share` batches per replica, [replicas, share, rows, width]."""
        return self._strategy.local(self._strategy.run(self._own_share, first, share))

    def _own_share(self, first: tf.Tensor, share: int) -> tf.Tensor:
        numbers = first + tf.cast(self._strategy.replica(), tf.int64) * share + tf.range(share, dtype=tf.int64)
        signature = tf.TensorSpec((self._rows, self._width), tf.float32)
        return gather(self._strategy, [tf.map_fn(self._batch, numbers, fn_output_signature=signature)])[0]

    def _batch(self, number: tf.Tensor) -> tf.Tensor:
        """Return rows of log-likelihood, divergence, M metrics, K terms and D means, [rows, 2 + M + K + D]."""
        first = number * self._rows
        batch = self._batches.in_order(first, self._rows)
        width = self._model.posterior.noise_size
        noise = self._noise.samples(tf.constant(0, tf.int64), first, self._rows, samples=self._samples, width=width)
        with keras.StatelessScope(state_mapping=self._average.mapping()):
            terms = self._model.terms(batch.x, noise)
            metrics, mean = in_mode(lambda: self._of_terms(batch.x, terms), training=False)
        scalars = tf.stack([elbo.expected_log_likelihood(terms.log_likelihood), terms.kl, *metrics], axis=1)
        return tf.concat([scalars, terms.kl_terms, mean], axis=1)

    def _of_terms(self, x: tf.Tensor, terms: Terms) -> tuple[list[tf.Tensor], tf.Tensor]:
        """Return the metrics of each example, and its posterior's mean [rows, D]."""
        metrics = [tf.ensure_shape(metric(x, terms), (self._rows,)) for metric in self._metrics.values()]
        return metrics, terms.q.mean()
