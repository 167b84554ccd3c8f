"""Networks and likelihoods that break one rule each; `test_broken_plugins.py` has the rule and what is said of it."""

from __future__ import annotations

import functools
import math
import os
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


AT_IMPORT = int.from_bytes(os.urandom(4)) / 2**32


def drawn_at_import(x_shape):
    """Features times a number that each process draws for itself."""
    return dense(x_shape, after=lambda h: h * (1.0 + AT_IMPORT))


def logits_in_half_precision(latent_size, output_shape):
    """A last layer in the model's precision."""
    import keras
    from keras import layers

    z = keras.Input((latent_size,))
    return keras.Model(z, layers.Reshape(output_shape)(layers.Dense(math.prod(output_shape))(z)))


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


def forgets_the_constant_of_its_scale(x_shape):
    """A normal with a learned scale, whose density forgets it in the constant: right as long as it is one."""
    from vaeflow.components.likelihoods import gaussian
    from vaeflow.model.distributions import Normal

    class Forgetful(Normal):
        def log_prob(self, value):
            return super().log_prob(value) + 0.5 * self.log_var * math.prod(x_shape)

    likelihood = gaussian(x_shape, variance="shared")
    distribution = likelihood.distribution
    likelihood.distribution = lambda parameters: Forgetful(**vars(distribution(parameters)))
    return likelihood


def of_a_family(size, x_shape):
    """One of several encoders of this file."""
    return writes_from_every_rank(x_shape)


OF_KIND = {
    "encoder": (
        *(wrong_shape, not_differentiable, mixes_rows, depends_on_the_replica, writes_from_every_rank, pickles),
        drawn_at_import,
    ),
    "decoder": (logits_in_half_precision,),
    "likelihood": (float64_leak, averages_over_pixels, likelihood_mixes_examples, forgets_the_constant_of_its_scale),
}


@hookimpl
def vaeflow_components():
    """Return them all, by the names of their build functions."""
    for kind, builds in OF_KIND.items():
        for build in builds:
            yield Component(kind, build.__name__.replace("_", "-"), build)
    yield Component("encoder", "of-a-family", functools.partial(of_a_family, 8))
