"""Components that return something of another shape or type than the next one takes."""

from __future__ import annotations

from typing import Literal

from vaeflow import Component, hookimpl


def encoder(
    x_shape, *, returns: Literal["maps", "two", "list", "dict", "rows", "integers", "scalar", "varying", "fails"]
):
    """Features, wrong in one way."""
    import keras
    import tensorflow as tf

    class Encoder(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.flatten = keras.layers.Dense(8), keras.layers.Flatten()

        def call(self, x):
            h = self.dense(x)
            flat = self.flatten(h)
            if returns == "fails":
                return tf.concat([flat, flat[:, :3]], axis=0)
            return {
                "maps": h,
                "two": (flat, flat),
                "list": [flat],
                "dict": {"h": flat},
                "rows": flat[:2],
                "integers": tf.cast(flat, tf.int32),
                "varying": flat[:, : 3 + int(tf.reduce_max(x))] if tf.executing_eagerly() else flat,
                "scalar": tf.reduce_mean(flat),
            }[returns]

    return Encoder()


def decoder(latent_size, output_shape, *, returns: Literal["flat", "two", "integers"]):
    """Parameters, wrong in one way."""
    import keras
    import tensorflow as tf

    class Decoder(keras.Model):
        def __init__(self):
            super().__init__()
            size = 1
            for side in output_shape:
                size *= side
            self.dense, self.reshape = keras.layers.Dense(size), keras.layers.Reshape(output_shape)

        def call(self, z):
            h = self.dense(z)
            shaped = self.reshape(h)
            return {"flat": h, "two": (shaped, shaped), "integers": tf.cast(shaped, tf.int32)}[returns]

    return Decoder()


def posterior(latent_size, *, returns: Literal["pair", "none", "narrow", "alone", "elements", "half", "mean", "fails"]):
    """q(z given x), wrong in one way."""
    import keras
    import tensorflow as tf

    from vaeflow.model.distributions import DiagonalNormal

    class Q(DiagonalNormal):
        def sample(self, noise):
            if returns == "alone":
                return super().sample(noise)[0]
            return super().sample(noise)[..., :1] if returns == "narrow" else super().sample(noise)

        def log_prob(self, value):
            each = -0.5 * tf.square(value - self.mu)
            if returns == "fails":
                return tf.matmul(value, self.mu)
            if returns == "half":
                return tf.cast(super().log_prob(value), tf.float16)
            return each if returns == "elements" else super().log_prob(value)

        def mean(self):
            return self.mu[0] if returns == "mean" else self.mu

    class Posterior(keras.layers.Layer):
        noise_size = latent_size

        def __init__(self):
            super().__init__()
            self.mu, self.log_var = keras.layers.Dense(latent_size), keras.layers.Dense(latent_size)

        def distribution(self, features):
            if returns == "none":
                return None
            pair = self.mu(features), self.log_var(features)
            return pair if returns == "pair" else Q(*pair)

    return Posterior()


def prior(latent_size, *, returns: Literal["elements", "total", "closed"]):
    """p(z), wrong in one way."""
    import tensorflow as tf

    class Prior:
        def log_prob(self, z):
            each = -0.5 * tf.square(z)
            return each if returns == "elements" else tf.reduce_sum(each)

        def sample(self, noise):
            return noise

        def mean(self):
            return tf.zeros((latent_size,))

        def kl_terms(self, q):
            return tf.reduce_sum(tf.square(q.mean()), axis=-1) if returns == "closed" else None

    return Prior()


def likelihood(x_shape, *, returns: Literal["elements", "tensor", "bare", "means"]):
    """p(x given z), wrong in one way."""
    import tensorflow as tf

    from vaeflow.model.distributions import Bernoulli

    class P(Bernoulli):
        def log_prob(self, value):
            return value * self.logits if returns == "elements" else super().log_prob(value)

        def mean(self):
            return tf.reduce_mean(super().mean()) if returns == "means" else super().mean()

    class Bare:
        def log_prob(self, x):
            return x

    class Likelihood:
        parameters_shape = x_shape

        def distribution(self, logits):
            return {"tensor": logits, "bare": Bare()}.get(returns, P(logits, len(x_shape)))

    return Likelihood()


@hookimpl
def vaeflow_components():
    """Return them all."""
    for kind, build in (("encoder", encoder), ("decoder", decoder), ("posterior", posterior), ("prior", prior)):
        yield Component(kind, "wrong", build)
    yield Component("likelihood", "wrong", likelihood)
