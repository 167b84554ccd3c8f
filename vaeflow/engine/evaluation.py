"""The bound of a whole split, example by example, so that no order of addition matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from vaeflow import elbo
from vaeflow.data.noise import Noise

if TYPE_CHECKING:
    from vaeflow.data.batches import Batches
    from vaeflow.engine.ema import MovingAverage
    from vaeflow.model import VAE

ACTIVE_VARIANCE = 0.01
BATCHES_A_CALL = 25


@dataclass(frozen=True)
class Evaluation:
    """Means over the examples of a split.

    Attributes:
        examples: how many.
        log_likelihood: E log p(x given z), nats an example.
        kl: KL(q, p), nats an example.
        kl_per_dimension: [D] nats; empty where the divergence is no sum over dimensions.
        active_units: latent dimensions whose posterior mean has a variance above 0.01 over the split (Burda et al.
            2015).
    """

    examples: int
    log_likelihood: float
    kl: float
    kl_per_dimension: np.ndarray
    active_units: int

    @property
    def bound(self) -> float:
        """The bound on log p(x), nats an example (equation 6)."""
        return self.log_likelihood - self.kl

    def scalars(self, split: str) -> dict[str, float]:
        """Return the figures by the names they are logged under, `test/bound` and so on."""
        return {
            f"{split}/bound": self.bound,
            f"{split}/log_likelihood": self.log_likelihood,
            f"{split}/kl": self.kl,
            f"{split}/active_units": float(self.active_units),
        }


class Evaluator:
    """Evaluates a split with the weights as they are, or with their moving averages where there are any.

    Args:
        model: the autoencoder.
        batches: the split.
        average: moving averages of the weights.
        batch_size: examples at a time; kernels may round differently for another number.
        samples: L, samples of z an example.
        seed: of the noise, the same at every evaluation.
    """

    def __init__(
        self, model: VAE, batches: Batches, average: MovingAverage, *, batch_size: int, samples: int, seed: int
    ) -> None:
        self._model, self._batches, self._average = model, batches, average
        self._rows, self._samples = batch_size, samples
        self._noise = Noise(seed, f"evaluation/{batches.split}")
        scalar = tf.TensorSpec((), tf.int64)
        self._compiled = tf.function(self._chunk, input_signature=[scalar, scalar])

    def __call__(self) -> Evaluation:
        """Return the evaluation of the whole split."""
        count = self._batches.examples
        batches = -(-count // self._rows)
        kept: tuple[list[np.ndarray], ...] = ([], [], [])
        for first in range(0, batches, BATCHES_A_CALL):
            chunk = self._compiled(*(tf.constant(n, tf.int64) for n in (first, min(BATCHES_A_CALL, batches - first))))
            for parts, part in zip(kept, chunk, strict=True):
                parts.append(np.asarray(part, np.float64).reshape((-1, part.shape[-1])))
        table, terms, mean = (np.concatenate(parts)[:count] for parts in kept)
        per_dimension = terms.mean(axis=0) if terms.shape[1] == self._model.latent_size else np.empty(0)
        active = int(np.sum(mean.var(axis=0) > ACTIVE_VARIANCE))
        log_likelihood, kl = (float(v) for v in table.mean(axis=0))
        return Evaluation(count, log_likelihood, kl, per_dimension, active)

    def _chunk(self, first: tf.Tensor, count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        latent = self._model.latent_size
        signature = tuple(tf.TensorSpec((self._rows, width), tf.float32) for width in (2, None, latent))
        numbers = first + tf.range(count, dtype=tf.int64)
        return tf.map_fn(self._batch, numbers, fn_output_signature=signature)

    def _batch(self, number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Return log-likelihood and divergence [rows, 2], its terms [rows, K] and the posterior's means [rows, D]."""
        first = number * self._rows
        batch = self._batches.in_order(first, self._rows)
        width = self._model.posterior.noise_size
        noise = self._noise.samples(tf.constant(0, tf.int64), first, self._rows, samples=self._samples, width=width)
        with keras.StatelessScope(state_mapping=self._average.mapping()):
            terms = self._model.terms(batch.x, noise)
        log_likelihood = elbo.expected_log_likelihood(terms.log_likelihood)
        return tf.stack([log_likelihood, terms.kl], axis=1), terms.kl_terms, terms.q.mean()
