"""The model's graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.distributed.strategies.graphs import graph
from vaeflow.model import elbo
from vaeflow.model.latents import noise_size

if TYPE_CHECKING:
    from vaeflow.contracts import LatentVariableModel


def write_graph(model: LatentVariableModel, *, classes: int = 0) -> None:
    """Write the graph of the ELBO of a batch of any size, from x and noise (equation 6 with L = 1).

    Args:
        model: any model.
        classes: C of a conditional model, else 0.
    """

    def elbo_of(x: tf.Tensor, noise: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
        terms = model.terms(x, noise, labels=labels)
        return elbo.elbo(terms.log_likelihood, terms.kl)

    x = tf.TensorSpec((None, *model.x_shape), tf.float32, name="x")
    noise = tf.TensorSpec((1, None, noise_size(model.latents)), tf.float32, name="noise")
    labels = tf.TensorSpec((None, classes), tf.float32, name="labels") if classes else None
    tf.summary.graph(graph(elbo_of).get_concrete_function(x, noise, labels).graph)
