"""Posteriors, priors, objectives and schedules that break one rule each; `test_broken_plugins.py` has the rule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vaeflow import Component, hookimpl


def gaussian(latent_size, sample=lambda q, noise: q.mu + noise, log_prob=None):
    """Return a posterior whose mean is linear in the features, with another `sample` or `log_prob`."""
    import keras

    from vaeflow.model.distributions import DiagonalNormal

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


def stops_the_gradient(latent_size):
    """Samples that no gradient goes through; log q has one."""
    import tensorflow as tf

    return gaussian(latent_size, sample=lambda q, noise: tf.stop_gradient(q.mu + noise))


def normal_in_two_dimensions(latent_size):
    """A standard normal with the constant of two dimensions."""
    import tensorflow as tf

    from vaeflow.model.distributions import StandardNormal

    class Prior(StandardNormal):
        def log_prob(self, z):
            return -0.5 * tf.reduce_sum(tf.square(z), axis=-1) - math.log(2.0 * math.pi)

    return Prior(latent_size)


def kl_of_the_wrong_sign(latent_size):
    """The article's closed form without its minus."""
    from vaeflow.model.distributions import StandardNormal

    class Prior(StandardNormal):
        def kl_terms(self, q):
            return -super().kl_terms(q)

    return Prior(latent_size)


def prior_mixes_examples(latent_size):
    """The article's closed form, for the mean of the batch."""
    import tensorflow as tf

    from vaeflow.model.distributions import StandardNormal

    class Prior(StandardNormal):
        def kl_terms(self, q):
            terms = super().kl_terms(q)
            return None if terms is None else terms - terms + tf.reduce_mean(terms, axis=0)

    return Prior(latent_size)


def variable_in_no_layer(latent_size):
    """A normal around a point that nothing trains."""
    import tensorflow as tf

    from vaeflow.model.distributions import StandardNormal

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


def objective(loss):
    """Return an objective of one sample with a loss of terms, penalty and mean log-likelihood."""
    import tensorflow as tf

    class Objective:
        samples = 1

        def loss(self, terms, schedule, step):
            return loss(terms, schedule.penalty(terms.kl, step), tf.reduce_mean(terms.log_likelihood, axis=0))

    return Objective()


def penalty_of_the_batch():
    """The mean penalty, in the loss of each example."""
    import tensorflow as tf

    return objective(lambda terms, penalty, log_p: tf.reduce_mean(penalty) - log_p)


def kernel_of_the_batch():
    """A penalty on latents that lie close together."""
    import tensorflow as tf

    def loss(terms, penalty, log_p):
        apart = terms.z["z"][0][:, None] - terms.z["z"][0][None]
        return tf.reduce_mean(tf.exp(-tf.reduce_sum(tf.square(apart), axis=-1))) + penalty - log_p

    return objective(loss)


def penalty_of_the_wrong_sign():
    """The ELBO with a plus."""
    return objective(lambda terms, penalty, log_p: -(log_p + penalty))


def free_bits_of_the_batch(timeline):
    """No penalty below a mean of 2 nats."""
    import tensorflow as tf

    class Schedule:
        def weight(self, step):
            return tf.constant(1.0)

        def penalty(self, kl, step):
            return tf.ones_like(kl) * tf.maximum(tf.reduce_mean(kl), 2.0)

    return Schedule()


OF_KIND = {
    "posterior": (
        *(stateful_noise, does_not_normalise, own_kl_without_its_variance, posterior_mixes_examples),
        stops_the_gradient,
    ),
    "prior": (kl_of_the_wrong_sign, prior_mixes_examples, variable_in_no_layer, normal_in_two_dimensions),
    "objective": (objective_with_a_weight, penalty_of_the_batch, kernel_of_the_batch, penalty_of_the_wrong_sign),
    "schedule": (free_bits_of_the_batch,),
}


@hookimpl
def vaeflow_components():
    """Return them all, by the names of their build functions."""
    for kind, builds in OF_KIND.items():
        for build in builds:
            yield Component(kind, build.__name__.replace("_", "-"), build)
