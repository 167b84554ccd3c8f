"""Components whose layers keep something or draw numbers in training: `plugins check` must find nothing wrong."""

from __future__ import annotations

import math

from vaeflow import Component, hookimpl


def normalized(latent_size: int):
    """A Gaussian whose features pass batch normalization, a dense layer of unit norm and dropout."""
    import keras
    from keras import layers

    from vaeflow.model.distributions import DiagonalNormal

    class Head(keras.layers.Layer):
        noise_size = latent_size

        def __init__(self):
            super().__init__(name="posterior", dtype="float32")
            self.normalization = layers.BatchNormalization(dtype="float32")
            dense = layers.Dense(8, activation="tanh", dtype="float32")
            self.dense = layers.SpectralNormalization(dense, dtype="float32")
            self.dropout = layers.Dropout(0.2, dtype="float32")
            self.mu = layers.Dense(latent_size, dtype="float32")
            self.log_var = layers.Dense(latent_size, dtype="float32")

        def distribution(self, features):
            h = self.dropout(self.dense(self.normalization(features)))
            return DiagonalNormal(self.mu(h), self.log_var(h))

    return Head()


def frozen(latent_size: int):
    """A Gaussian after a batch normalization that is frozen on purpose, and a constant in a layer with two modes."""
    import keras
    import tensorflow as tf
    from keras import layers

    from vaeflow.model.distributions import DiagonalNormal

    class Masked(layers.Layer):
        def build(self, shape):
            alternating = tf.cast(tf.range(shape[-1]) % 2 == 0, tf.float32)
            self.mask = self.add_weight(
                shape=shape[-1:], initializer=lambda *_, **__: alternating, trainable=False, name="mask"
            )
            self.dropout = layers.Dropout(0.1, dtype="float32")

        def call(self, inputs, training=False):
            return self.dropout(inputs, training=training) * self.mask

    class Head(keras.layers.Layer):
        noise_size = latent_size

        def __init__(self):
            super().__init__(name="posterior", dtype="float32")
            self.normalization = layers.BatchNormalization(dtype="float32", trainable=False)
            self.masked = Masked(dtype="float32")
            self.mu = layers.Dense(latent_size, dtype="float32")
            self.log_var = layers.Dense(latent_size, dtype="float32")

        def distribution(self, features):
            h = self.masked(self.normalization(features))
            return DiagonalNormal(self.mu(h), self.log_var(h))

    return Head()


def pseudo_inputs(latent_size: int, *, parts: int = 5):
    """A mixture of unit normals whose means are a network's, with batch normalization over the parts."""
    import keras
    import tensorflow as tf
    from keras import layers

    class Prior(layers.Layer):
        def __init__(self):
            super().__init__(dtype="float32")
            apart = keras.initializers.RandomNormal(stddev=1.0, seed=1)
            self.inputs = self.add_weight(shape=(parts, 4), initializer=apart, name="inputs")
            self.normalization = layers.BatchNormalization(dtype="float32")
            self.dropout = layers.Dropout(0.1, dtype="float32")
            self.dense = layers.Dense(latent_size, dtype="float32")

        def means(self):
            return self.dense(self.dropout(self.normalization(tf.convert_to_tensor(self.inputs))))

        def log_prob(self, z):
            each = -0.5 * tf.reduce_sum(tf.square(z[..., None, :] - self.means()) + math.log(2 * math.pi), axis=-1)
            return tf.reduce_logsumexp(each, axis=-1) - math.log(parts)

        def sample(self, noise):
            place = 0.5 * parts * (1.0 + tf.math.erf(noise[..., 0] / math.sqrt(2.0)))
            part = tf.clip_by_value(tf.floor(place), 0, parts - 1)
            first = tf.math.ndtri(tf.clip_by_value(place - part, 1e-6, 1.0 - 1e-6))
            own = tf.concat([first[..., None], noise[..., 1:]], axis=-1)
            return tf.gather(self.means(), tf.cast(part, tf.int32)) + own

        def mean(self):
            return tf.reduce_mean(self.means(), axis=0)

        def kl_terms(self, q):
            return None

    return Prior()


def dropped(x_shape: tuple[int, ...]):
    """A Bernoulli likelihood whose logits are dropped in training."""
    import keras

    from vaeflow.model.distributions import Bernoulli

    class Likelihood(keras.layers.Layer):
        parameters_shape = x_shape

        def __init__(self):
            super().__init__(dtype="float32")
            self.dropout = keras.layers.Dropout(0.1, dtype="float32")

        def distribution(self, logits):
            return Bernoulli(self.dropout(logits), rank=len(x_shape))

    return Likelihood()


@hookimpl
def vaeflow_components():
    """Return them all."""
    yield Component("posterior", "normalized", normalized)
    yield Component("posterior", "frozen", frozen)
    yield Component("prior", "pseudo-inputs", pseudo_inputs)
    yield Component("likelihood", "dropped", dropped)
