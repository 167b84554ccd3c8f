"""The number of codes that are in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.errors import UsageError
from vaeflow_vq.distributions import CodesFromPrior

if TYPE_CHECKING:
    from vaeflow.contracts import Terms


def perplexity(x: tf.Tensor, terms: Terms) -> tf.Tensor:
    """Return exp(entropy) of the codes' average use in training, the same number for each example, [B]."""
    prior = terms.p.get("codes")
    if not isinstance(prior, CodesFromPrior):
        raise UsageError("metric 'code-perplexity' is for model 'vq' only")
    usage = prior.codebook.usage()
    return tf.fill(tf.shape(x)[:1], tf.exp(-tf.reduce_sum(tf.math.xlogy(usage, usage))))
