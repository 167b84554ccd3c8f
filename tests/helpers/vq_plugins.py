"""A vector-quantized posterior and its objective: a codebook that is looked up, whose gradient is sparse."""

from __future__ import annotations

from vaeflow import Component, hookimpl

CODES = 16


def vq(latent_size: int):
    """The nearest of some codes, in whose place gradients pass to the features, as a narrow normal."""
    import keras
    import tensorflow as tf

    from vaeflow.model.distributions import DiagonalNormal

    class Posterior(keras.layers.Layer):
        noise_size = latent_size

        def __init__(self):
            super().__init__(name="posterior", dtype="float32")
            self.dense = keras.layers.Dense(latent_size, dtype="float32")
            apart = keras.initializers.RandomNormal(stddev=1.0, seed=1)
            self.codes = self.add_weight(shape=(CODES, latent_size), initializer=apart, name="codes")

        def distribution(self, features):
            h = self.dense(features)
            apart = tf.reduce_sum(tf.square(h[:, None, :] - tf.convert_to_tensor(self.codes)), axis=-1)
            code = tf.gather(tf.convert_to_tensor(self.codes), tf.argmin(apart, axis=-1))
            q = Quantized(h + tf.stop_gradient(code - h), tf.zeros_like(h) - 4.0)
            moved = tf.square(code - tf.stop_gradient(h)) + 0.25 * tf.square(tf.stop_gradient(code) - h)
            q.commitment = tf.reduce_sum(moved, axis=-1)
            return q

    class Quantized(DiagonalNormal):
        def __setattr__(self, name, value):
            object.__setattr__(self, name, value)

    return Posterior()


def objective():
    """The ELBO, less how far features are from their codes."""
    import tensorflow as tf

    class Objective:
        samples = 1

        def loss(self, terms, schedule, step):
            bound = tf.reduce_mean(terms.log_likelihood, axis=0) - schedule.penalty(terms.kl, step)
            return getattr(terms.q["z"], "commitment", 0.0) - bound

    return Objective()


@hookimpl
def vaeflow_components():
    """Return both."""
    yield Component("posterior", "vq", vq)
    yield Component("objective", "vq", objective)
