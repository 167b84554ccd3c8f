"""Components whose layers do nothing in training; `test_broken_plugins.py` has the rule and what is said of each."""

from __future__ import annotations

from vaeflow import Component, hookimpl


def gaussian(latent_size: int, before):
    """Return a mean-field Gaussian whose features pass a function of a layer and them."""
    import keras

    from vaeflow.model.distributions import DiagonalNormal

    class Head(keras.layers.Layer):
        noise_size = latent_size

        def __init__(self):
            super().__init__(name="posterior", dtype="float32")
            self.normalization = keras.layers.BatchNormalization(dtype="float32")
            self.mu = keras.layers.Dense(latent_size, dtype="float32")
            self.log_var = keras.layers.Dense(latent_size, dtype="float32")

        def distribution(self, features):
            h = before(self.normalization, features)
            return DiagonalNormal(self.mu(h), self.log_var(h))

    return Head()


def inert_normalization(latent_size: int):
    """Batch normalization that is told not to train."""
    return gaussian(latent_size, lambda layer, features: layer(features, training=False))


def still_average(latent_size: int):
    """A normalization of its own that forgets to keep its mean."""
    import keras
    import tensorflow as tf

    class Centred(keras.layers.Layer):
        def build(self, shape):
            self.average = self.add_weight(shape=shape[-1:], initializer="zeros", trainable=False, name="average")

        def call(self, inputs, training=False):
            mean = tf.reduce_mean(inputs, axis=0) if training else tf.convert_to_tensor(self.average)
            return inputs - mean

    centred = Centred(dtype="float32")

    def before(layer, features):
        layer.centred = centred
        return layer.centred(layer(features))

    return gaussian(latent_size, before)


def idle_dropout(x_shape: tuple[int, ...]):
    """An encoder whose dropout never drops."""
    import keras
    from keras import layers

    class Encoder(keras.Model):
        def __init__(self):
            super().__init__()
            self.flatten, self.dense = layers.Flatten(), layers.Dense(8, activation="tanh")
            self.dropout = layers.Dropout(0.5)

        def call(self, x):
            return self.dropout(self.dense(self.flatten(x)), training=False)

    return Encoder()


def uncalled_dropout(latent_size: int, output_shape: tuple[int, ...]):
    """A decoder that has a dropout, and never calls it."""
    import keras
    from keras import layers

    class Decoder(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(output_shape[0] * output_shape[1] * output_shape[2], dtype="float32")
            self.reshape = layers.Reshape(output_shape, dtype="float32")
            self.dropout = layers.Dropout(0.5)

        def call(self, z):
            return self.reshape(self.dense(z))

    return Decoder()


def idle_likelihood(x_shape: tuple[int, ...]):
    """A Bernoulli likelihood whose logits pass a dropout that is told not to drop."""
    import keras

    from vaeflow.model.distributions import Bernoulli

    class Likelihood(keras.layers.Layer):
        parameters_shape = x_shape

        def __init__(self):
            super().__init__(dtype="float32")
            self.dropout = keras.layers.Dropout(0.1, dtype="float32")

        def distribution(self, logits):
            return Bernoulli(self.dropout(logits, training=False), rank=len(x_shape))

    return Likelihood()


def idle_prior(latent_size: int):
    """A normal prior with a learned mean, and a dropout of it that is told not to drop."""
    import keras
    import tensorflow as tf

    from vaeflow.model.distributions import DiagonalNormal

    class Prior(keras.layers.Layer):
        def __init__(self):
            super().__init__(dtype="float32")
            self.mu = self.add_weight(shape=(1, latent_size), initializer="ones", name="mu")
            self.dropout = keras.layers.Dropout(0.1, dtype="float32")

        def normal(self):
            mu = self.dropout(tf.convert_to_tensor(self.mu), training=False)[0]
            return DiagonalNormal(mu, tf.zeros_like(mu))

        def log_prob(self, z):
            return self.normal().log_prob(z)

        def sample(self, noise):
            return self.normal().sample(noise)

        def mean(self):
            return tf.convert_to_tensor(self.mu)[0]

        def kl_terms(self, q):
            return None

    return Prior()


@hookimpl
def vaeflow_components():
    """Return them all."""
    yield Component("posterior", "inert-normalization", inert_normalization)
    yield Component("posterior", "still-average", still_average)
    yield Component("encoder", "idle-dropout", idle_dropout)
    yield Component("decoder", "uncalled-dropout", uncalled_dropout)
    yield Component("likelihood", "idle-likelihood", idle_likelihood)
    yield Component("prior", "idle-prior", idle_prior)
