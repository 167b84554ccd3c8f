"""Rate and distortion of a split, and the error of its reconstructions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.contracts import Findings
from vaeflow.model.elbo import expected_log_likelihood

if TYPE_CHECKING:
    from vaeflow.contracts import WholeSplit


class RateDistortion:
    """KL(q, p) and -E log p(x given z), nats per example and bits per element of x (Alemi et al. 2018)."""

    whole_split = True

    def __call__(self, split: WholeSplit) -> Findings:
        """Return both, and their sum in bits per dimension: an upper bound of the code length of x."""

        def rows(first: tf.Tensor) -> tf.Tensor:
            terms = split.terms(first)
            return tf.stack([terms.kl, -expected_log_likelihood(terms.log_likelihood)], axis=1)

        rate, distortion = split.table("rates", rows, 2).mean(axis=0).tolist()
        bits = math.log(2.0) * math.prod(split.model.x_shape)
        return Findings(
            {
                "rate": rate,
                "distortion": distortion,
                "rate_bits": rate / bits,
                "distortion_bits": distortion / bits,
                "bits_per_dimension": (rate + distortion) / bits,
            }
        )


class ReconstructionError:
    """The distance of x from its reconstruction: the expected x given the posterior's means."""

    whole_split = True

    def __call__(self, split: WholeSplit) -> Findings:
        """Return means over elements and examples: of the square (and its root), and of the absolute difference."""
        model = split.model

        def rows(first: tf.Tensor) -> tf.Tensor:
            batch = split.batch(first)
            means = model.encode(batch.x, labels=batch.labels)
            apart = tf.reshape(batch.x - model.decode(means, labels=batch.labels).mean(), (split.rows, -1))
            return tf.stack([tf.reduce_mean(tf.square(apart), 1), tf.reduce_mean(tf.abs(apart), 1)], axis=1)

        squared, absolute = split.table("reconstructions", rows, 2).mean(axis=0).tolist()
        return Findings({"squared": squared, "root": math.sqrt(squared), "absolute": absolute})
