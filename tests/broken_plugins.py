"""Components of the step that break one rule each; `test_broken_plugins.py` has the rule and what is said of it."""

from __future__ import annotations

import functools
import math
import pickle
from dataclasses import dataclass
from pathlib import Path

from vaeflow import Component, hookimpl


def dense(x_shape, before=lambda x: x, after=lambda h: h):
    """Return an encoder of one dense layer between two functions of tensors."""
    import keras
    from keras import layers

    x = keras.Input(x_shape)
    h = layers.Dense(8, activation="tanh")(layers.Lambda(before)(layers.Flatten()(x)))
    return keras.Model(x, layers.Lambda(after)(h))


def wrong_shape(x_shape):
    """Features [B, 2, 4]."""
    import keras

    return dense(x_shape, after=lambda h: keras.ops.reshape(h, (-1, 2, 4)))


def not_differentiable(x_shape):
    """Features that are rounded."""
    import tensorflow as tf

    return dense(x_shape, after=lambda h: tf.round(4.0 * h))


def mixes_rows(x_shape):
    """Features less their mean over the batch."""
    import tensorflow as tf

    return dense(x_shape, after=lambda h: h - tf.reduce_mean(h, axis=0))


def depends_on_the_replica(x_shape):
    """Features that are larger on the second replica."""
    import tensorflow as tf

    def scaled(h):
        context = tf.distribute.get_replica_context()
        return h if context is None else h * (1.0 + tf.cast(context.replica_id_in_sync_group, h.dtype))

    return dense(x_shape, after=scaled)


def writes_from_every_rank(x_shape):
    """A log of how often it was built."""
    with Path("built.log").open("a") as file:
        file.write("built\n")
    return dense(x_shape)


def pickles(x_shape):
    """A cache of its weights' shapes."""
    pickle.loads(pickle.dumps(x_shape))
    return dense(x_shape)


def bernoulli_with(x_shape, changed):
    """Return the Bernoulli likelihood with log-densities that a function has changed."""
    from vaeflow.components.likelihoods import bernoulli

    inner = bernoulli(x_shape)

    @dataclass(frozen=True)
    class Other:
        of: object

        def log_prob(self, value):
            return changed(self.of.log_prob(value))

        def sample(self, noise):
            return self.of.sample(noise)

        def mean(self):
            return self.of.mean()

    class Likelihood:
        parameters_shape = inner.parameters_shape

        def distribution(self, parameters):
            return Other(inner.distribution(parameters))

    return Likelihood()


def float64_leak(x_shape):
    """Log-likelihoods in float64."""
    import tensorflow as tf

    return bernoulli_with(x_shape, lambda log_p: tf.cast(log_p, tf.float64))


def averages_over_pixels(x_shape):
    """Log-likelihoods a pixel, not an example."""
    return bernoulli_with(x_shape, lambda log_p: log_p / math.prod(x_shape))


def likelihood_mixes_examples(x_shape):
    """Log-likelihoods less how far their mean over the batch is from -40."""
    import tensorflow as tf

    return bernoulli_with(x_shape, lambda log_p: log_p - 0.1 * (tf.reduce_mean(log_p, -1, keepdims=True) + 40.0))


def gaussian(latent_size, sample=lambda q, noise: q.mu + noise, log_prob=None):
    """Return a posterior whose mean is linear in the features, with another `sample` or `log_prob`."""
    import keras

    from vaeflow.distributions import DiagonalNormal

    class Q(DiagonalNormal):
        def sample(self, noise):
            return sample(self, noise)

        def log_prob(self, value):
            return super().log_prob(value) if log_prob is None else log_prob(self, value)

    class Posterior(keras.layers.Layer):
        noise_size = latent_size

        def __init__(self):
            super().__init__(dtype="float32")
            self.mu = keras.layers.Dense(latent_size, dtype="float32")

        def distribution(self, features):
            mu = self.mu(features)
            return Q(mu, 0.0 * mu)

    return Posterior()


def stateful_noise(latent_size):
    """Samples that draw their own noise."""
    import tensorflow as tf

    return gaussian(latent_size, sample=lambda q, noise: q.mu + tf.random.normal(tf.shape(noise)))


def forgets_the_constant_of_its_scale(x_shape):
    """A normal with a learned scale, whose density forgets it in the constant: right as long as it is one."""
    from vaeflow.components.likelihoods import gaussian
    from vaeflow.distributions import Normal

    class Forgetful(Normal):
        def log_prob(self, value):
            return super().log_prob(value) + 0.5 * self.log_var * math.prod(x_shape)

    likelihood = gaussian(x_shape, variance="shared")
    distribution = likelihood.distribution
    likelihood.distribution = lambda parameters: Forgetful(**vars(distribution(parameters)))
    return likelihood


def posterior_mixes_examples(latent_size):
    """Samples around the mean of the batch."""
    import tensorflow as tf

    return gaussian(latent_size, sample=lambda q, noise: tf.reduce_mean(q.mu, axis=0) + noise)


def does_not_normalise(latent_size):
    """A normal density without its constant."""
    import tensorflow as tf

    return gaussian(latent_size, log_prob=lambda q, z: -0.5 * tf.reduce_sum(tf.square(z - q.mu), axis=-1))


def own_kl_without_its_variance(latent_size):
    """A closed form of its own that forgets what a standard deviation of 2 adds."""
    import tensorflow as tf

    posterior = gaussian(latent_size)
    distribution = posterior.distribution

    @dataclass(frozen=True)
    class Q:
        of: object

        def sample(self, noise):
            return self.of.mu + 2.0 * noise

        def log_prob(self, value):
            constants = tf.math.log(2.0) + 0.5 * tf.math.log(2.0 * math.pi)
            return -tf.reduce_sum(tf.square((value - self.of.mu) / 2.0) / 2.0 + constants, axis=-1)

        def mean(self):
            return self.of.mean()

        def kl_terms(self, p):
            return 0.5 * tf.square(self.of.mu)

    posterior.distribution = lambda features: Q(distribution(features))
    return posterior


def kl_of_the_wrong_sign(latent_size):
    """The article's closed form without its minus."""
    from vaeflow.distributions import StandardNormal

    class Prior(StandardNormal):
        def kl_terms(self, q):
            return -super().kl_terms(q)

    return Prior(latent_size)


def prior_mixes_examples(latent_size):
    """The article's closed form, for the mean of the batch."""
    import tensorflow as tf

    from vaeflow.distributions import StandardNormal

    class Prior(StandardNormal):
        def kl_terms(self, q):
            terms = super().kl_terms(q)
            return None if terms is None else terms - terms + tf.reduce_mean(terms, axis=0)

    return Prior(latent_size)


def variable_in_no_layer(latent_size):
    """A normal around a point that nothing trains."""
    import tensorflow as tf

    from vaeflow.distributions import StandardNormal

    class Prior:
        def __init__(self):
            self.mu, self.around = tf.Variable(tf.ones((latent_size,)), name="mu"), StandardNormal(latent_size)

        def sample(self, noise):
            return self.mu + noise

        def log_prob(self, value):
            return self.around.log_prob(value - self.mu)

        def mean(self):
            return tf.convert_to_tensor(self.mu)

        def kl_terms(self, q):
            return None

    return Prior()


def objective_with_a_weight():
    """A loss whose weight nothing trains."""
    import tensorflow as tf

    weight = tf.Variable(1.0, name="weight")

    class Objective:
        samples = 1

        def loss(self, terms, schedule, step):
            return weight * terms.kl - tf.reduce_mean(terms.log_likelihood, axis=0)

    return Objective()


def of_a_family(size, x_shape):
    """One of several encoders of this file."""
    return writes_from_every_rank(x_shape)


OF_KIND = {
    "encoder": (wrong_shape, not_differentiable, mixes_rows, depends_on_the_replica, writes_from_every_rank, pickles),
    "likelihood": (float64_leak, averages_over_pixels, likelihood_mixes_examples, forgets_the_constant_of_its_scale),
    "posterior": (stateful_noise, does_not_normalise, own_kl_without_its_variance, posterior_mixes_examples),
    "prior": (kl_of_the_wrong_sign, prior_mixes_examples, variable_in_no_layer),
    "objective": (objective_with_a_weight,),
}


@hookimpl
def vaeflow_components():
    """Return them all, by the names of their build functions."""
    for kind, builds in OF_KIND.items():
        for build in builds:
            yield Component(kind, build.__name__.replace("_", "-"), build)
    yield Component("encoder", "of-a-family", functools.partial(of_a_family, 8))
