"""The model's graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.distributed.strategies.graphs import graph
from vaeflow.model import elbo

if TYPE_CHECKING:
    from vaeflow.model.vae import VAE


def write_graph(model: VAE) -> None:
    """Write the graph of the ELBO of a batch of any size, from x and noise (equation 6 with L = 1)."""

    def elbo_of(x: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        terms = model.terms(x, noise)
        return elbo.elbo(terms.log_likelihood, terms.kl)

    x = tf.TensorSpec((None, *model.x_shape), tf.float32, name="x")
    noise = tf.TensorSpec((1, None, model.posterior.noise_size), tf.float32, name="noise")
    tf.summary.graph(graph(elbo_of).get_concrete_function(x, noise).graph)
