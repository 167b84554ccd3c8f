"""Components that are right and unusual: `plugins check` must find nothing wrong with them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vaeflow import Component, hookimpl

LOG_2PI = math.log(2.0 * math.pi)


def mixture(latent_size: int, *, parts: int = 5):
    """A learned mixture of diagonal normals, sampled through the bits of its first number."""
    import keras
    import tensorflow as tf

    class Mixture(keras.layers.Layer):
        def __init__(self):
            super().__init__(dtype="float32")
            apart = keras.initializers.RandomNormal(stddev=1.0, seed=1)
            self.mu = self.add_weight(shape=(parts, latent_size), initializer=apart, name="mu")
            self.log_var = self.add_weight(shape=(parts, latent_size), initializer="zeros", name="log_var")

        def log_prob(self, z):
            mu, log_var = tf.convert_to_tensor(self.mu), tf.convert_to_tensor(self.log_var)
            squares = tf.square(z[..., None, :] - mu) * tf.exp(-log_var)
            each = -0.5 * tf.reduce_sum(LOG_2PI + log_var + squares, axis=-1)
            return tf.reduce_logsumexp(each, axis=-1) - math.log(parts)

        def sample(self, noise):
            place = 0.5 * parts * (1.0 + tf.math.erf(noise[..., 0] / math.sqrt(2.0)))
            part = tf.clip_by_value(tf.floor(place), 0, parts - 1)
            first = tf.math.ndtri(tf.clip_by_value(place - part, 1e-6, 1.0 - 1e-6))
            own = tf.concat([first[..., None], noise[..., 1:]], axis=-1)
            which = tf.cast(part, tf.int32)
            mu, log_var = (tf.gather(tf.convert_to_tensor(v), which) for v in (self.mu, self.log_var))
            return mu + tf.exp(0.5 * log_var) * own

        def mean(self):
            return tf.reduce_mean(tf.convert_to_tensor(self.mu), axis=0)

        def kl_terms(self, q):
            return None

    return Mixture()


def normal_by_products(latent_size: int):
    """A standard normal without a closed form, whose squares are products: z has a gradient of several summands."""
    import tensorflow as tf

    class Prior:
        def log_prob(self, z):
            return -0.5 * (tf.reduce_sum(z * z, axis=-1) + latent_size * LOG_2PI)

        def sample(self, noise):
            return noise

        def mean(self):
            return tf.zeros((latent_size,))

        def kl_terms(self, q):
            return None

    return Prior()


def head(latent_size: int, noise_size: int, count: int, distribution):
    """Return a posterior of linear functions of the features."""
    import keras

    size = noise_size

    class Head(keras.layers.Layer):
        noise_size = size

        def __init__(self):
            super().__init__(dtype="float32")
            self.linear = [keras.layers.Dense(latent_size, dtype="float32") for _ in range(count)]

        def distribution(self, features):
            return distribution(*(layer(features) for layer in self.linear))

    return Head()


def laplace(latent_size: int):
    """Laplace distributions, through the quantiles of normal numbers."""
    import tensorflow as tf

    @dataclass(frozen=True)
    class Q:
        mu: object
        log_scale: object

        def sample(self, noise):
            tail = 0.5 * tf.math.erfc(tf.abs(noise) / math.sqrt(2.0))  # of one side
            return self.mu - tf.exp(self.log_scale) * tf.sign(noise) * tf.math.log(2.0 * tail)

        def log_prob(self, value):
            each = tf.abs(value - self.mu) * tf.exp(-self.log_scale) + self.log_scale + math.log(2.0)
            return -tf.reduce_sum(each, axis=-1)

        def mean(self):
            return self.mu

    return head(latent_size, latent_size, 2, Q)


def log_normal(latent_size: int):
    """Exponentials of normals: a density without symmetry, on positive numbers."""
    import tensorflow as tf

    @dataclass(frozen=True)
    class Q:
        mu: object
        log_sigma: object

        def sample(self, noise):
            return tf.exp(self.mu + tf.exp(self.log_sigma) * noise)

        def log_prob(self, value):
            log_value = tf.math.log(value)
            squares = tf.square((log_value - self.mu) * tf.exp(-self.log_sigma))
            return -tf.reduce_sum(0.5 * (squares + LOG_2PI) + self.log_sigma + log_value, axis=-1)

        def mean(self):
            return tf.exp(self.mu + 0.5 * tf.exp(2.0 * self.log_sigma))

    return head(latent_size, latent_size, 2, Q)


def rank_one(latent_size: int):
    """N(mu, diag(sigma^2) + v v^T) by D + 1 numbers of noise."""
    import tensorflow as tf

    @dataclass(frozen=True)
    class Q:
        mu: object
        log_sigma: object
        v: object

        def sample(self, noise):
            return self.mu + tf.exp(self.log_sigma) * noise[..., 1:] + self.v * noise[..., :1]

        def log_prob(self, value):
            apart, precision = value - self.mu, tf.exp(-2.0 * self.log_sigma)
            grown = 1.0 + tf.reduce_sum(self.v * self.v * precision, axis=-1)
            along = tf.reduce_sum(apart * self.v * precision, axis=-1)
            squares = tf.reduce_sum(apart * apart * precision, axis=-1) - along * along / grown
            log_determinant = 2.0 * tf.reduce_sum(self.log_sigma, axis=-1) + tf.math.log(grown)
            return -0.5 * (squares + log_determinant + latent_size * LOG_2PI)

        def mean(self):
            return self.mu

    return head(latent_size, latent_size + 1, 3, Q)


def discretized_logistic(x_shape: tuple[int, ...]):
    """Logistic densities summed over each of 256 levels, whose outermost take the tails."""
    import tensorflow as tf

    axes = list(range(-len(x_shape), 0))

    @dataclass(frozen=True)
    class P:
        mu: object
        log_scale: object

        def below(self, x):
            return tf.sigmoid((x - self.mu) * tf.exp(-self.log_scale))

        def mass(self, level):
            upper = tf.where(level >= 255, 1.0, self.below((level + 0.5) / 255.0))
            return upper - tf.where(level <= 0, 0.0, self.below((level - 0.5) / 255.0))

        def log_prob(self, value):
            return tf.reduce_sum(tf.math.log(tf.maximum(self.mass(tf.round(value * 255.0)), 1e-12)), axis=axes)

        def sample(self, noise):
            x = self.mu + tf.exp(self.log_scale) * (tf.math.log(noise) - tf.math.log1p(-noise))
            return tf.clip_by_value(tf.round(x * 255.0), 0.0, 255.0) / 255.0

        def mean(self):
            return tf.add_n([level / 255.0 * self.mass(tf.constant(float(level))) for level in range(256)])

    class Likelihood:
        parameters_shape = (*x_shape, 2)

        def distribution(self, parameters):
            return P(tf.sigmoid(parameters[..., 0]), 0.2 * parameters[..., 1] - 2.0)

    return Likelihood()


def one_hot(x_shape: tuple[int, ...]):
    """One bright element in each column: pairs in a column that are both bright, or dark, have no probability."""
    import tensorflow as tf

    axes, down = list(range(-len(x_shape), 0)), -2

    @dataclass(frozen=True)
    class P:
        logits: object

        def log_prob(self, value):
            return tf.reduce_sum(value * tf.nn.log_softmax(self.logits, axis=down), axis=axes)

        def sample(self, noise):
            gumbel = -tf.math.log(-tf.math.log(tf.clip_by_value(noise, 1e-6, 1.0 - 1e-6)))
            scores = self.logits + gumbel
            return tf.cast(scores >= tf.reduce_max(scores, axis=down, keepdims=True), tf.float32)

        def mean(self):
            return tf.nn.softmax(self.logits, axis=down)

    class Likelihood:
        parameters_shape = x_shape

        def distribution(self, parameters):
            return P(parameters)

    return Likelihood()


def learned_scale(x_shape: tuple[int, ...]):
    """Normal distributions with one scale that is learned."""
    import keras
    import tensorflow as tf

    from vaeflow.model.distributions import Normal

    class Likelihood(keras.layers.Layer):
        parameters_shape = x_shape

        def __init__(self):
            super().__init__(dtype="float32")
            self.log_var = self.add_weight(shape=(), initializer="zeros", name="log_var")

        def distribution(self, parameters):
            return Normal(parameters, tf.convert_to_tensor(self.log_var), len(x_shape))

    return Likelihood()


def normalized_over_the_batch(x_shape: tuple[int, ...]):
    """A dense layer with batch normalization and dropout."""
    import keras
    from keras import layers

    x = keras.Input(x_shape)
    h = layers.BatchNormalization()(layers.Dense(16)(layers.Flatten()(x)))
    return keras.Model(x, layers.Dropout(0.2)(layers.Activation("relu")(h)))


def importance_weighted(*, samples: int = 5):
    """The bound of Burda et al. 2015."""
    import tensorflow as tf

    count = samples

    class Objective:
        samples = count

        def loss(self, terms, schedule, step):
            log_weights = terms.log_likelihood + terms.log_p - terms.log_q
            return math.log(count) - tf.reduce_logsumexp(log_weights, axis=0)

    return Objective()


def still_at_first(timeline):
    """No steps to speak of in the first tenth of the run."""
    import keras

    class Late(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 1e-3 * keras.ops.cast(10 * step >= timeline.total_steps, "float32")

        def get_config(self):
            return {}

    return Late()


def vectors(folders):
    """Real vectors without labels in one split, with a few in another."""
    import numpy as np

    from vaeflow.contracts import Dataset, Split

    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    return Dataset("vectors", Split(x, np.arange(40) % 2), None, Split(x[:7]), "made here")


@hookimpl
def vaeflow_components():
    """Return them all."""
    yield Component("encoder", "normalized-over-the-batch", normalized_over_the_batch)
    yield Component("posterior", "laplace", laplace)
    yield Component("posterior", "log-normal", log_normal)
    yield Component("posterior", "rank-one", rank_one)
    yield Component("prior", "mixture", mixture)
    yield Component("prior", "normal-by-products", normal_by_products)
    yield Component("likelihood", "discretized-logistic", discretized_logistic)
    yield Component("likelihood", "learned-scale", learned_scale)
    yield Component("likelihood", "one-hot", one_hot)
    yield Component("objective", "importance-weighted", importance_weighted)
    yield Component("learning_rate", "still-at-first", still_at_first)
    yield Component("dataset", "vectors", vectors)
