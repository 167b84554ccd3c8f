"""Built-in metrics: a value per example; evaluations log the mean by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

    from vaeflow.contracts import Metric, Terms


def iw_bound() -> Metric:
    """The importance-weighted bound on log p(x), nats (Burda, Grosse and Salakhutdinov 2015, equation 8).

    With one sample it is an estimate of the ELBO; `evaluate.samples` sets the number of samples.
    """

    def metric(x: tf.Tensor, terms: Terms) -> tf.Tensor:  # noqa: ARG001
        import tensorflow as tf

        log_weights = terms.log_likelihood + terms.log_p - terms.log_q
        return tf.reduce_logsumexp(log_weights, axis=0) - math.log(log_weights.shape[0])

    return metric


def squared_error() -> Metric:
    """The squared distance between x and the expected x given z, summed over the elements of x, mean over samples."""

    def metric(x: tf.Tensor, terms: Terms) -> tf.Tensor:
        import tensorflow as tf

        squared = tf.square(x - terms.p_x.mean())  # [L, B, *X]
        return tf.reduce_mean(tf.reduce_sum(squared, axis=list(range(2, len(squared.shape)))), axis=0)

    return metric
