"""Models and losses over the batch that are wrong, each in one way: a plugin of the tests."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from vaeflow import Component, hookimpl

sys.path.append(str(Path(__file__).parents[1]))  # a rule's own process loads this file by its path
from helpers.two_groups import two_groups


def changed(context, change):
    """Return the model of two groups whose terms are changed by a function of them, x and noise."""
    model = two_groups(context)
    terms = model.terms

    def other(x, noise, **given):
        return change(terms(x, noise, **given), x, noise)

    object.__setattr__(model, "terms", other)
    return model


def group_of_the_wrong_sign(context):
    """The divergence of a group with a minus."""

    def change(terms, x, noise):
        return replace(terms, kl_terms={**terms.kl_terms, "low-maps": -terms.kl_terms["low-maps"]})

    return changed(context, change)


def group_of_the_batch(context):
    """The divergence of a group, averaged over the batch."""
    import tensorflow as tf

    def change(terms, x, noise):
        top = terms.kl_terms["top"]
        return replace(terms, kl_terms={**terms.kl_terms, "top": tf.zeros_like(top) + tf.reduce_mean(top, axis=0)})

    return changed(context, change)


def forgotten_group(context):
    """The divergence of one group only."""
    return changed(context, lambda terms, x, noise: replace(terms, kl_terms={"top": terms.kl_terms["top"]}))


def half_of_log_q(context):
    """Log q(z given x) that lacks a group."""
    return changed(context, lambda terms, x, noise: replace(terms, log_q=terms.q["top"].log_prob(terms.z["top"])))


def mean_over_pixels(context):
    """Log p(x given z) per pixel, as many tutorials have it."""
    return changed(context, lambda terms, x, noise: replace(terms, log_likelihood=terms.log_likelihood / 64.0))


def unused_latents(context):
    """A model that decodes zeros, whatever latents are given, except those that it generates itself."""
    model = two_groups(context)
    decode, generate = model.decode, model.generate

    def other(z, *, labels=None):
        return decode({name: one * 0.0 for name, one in z.items()}, labels=labels)

    def generated(noise, **given):
        object.__setattr__(model, "decode", decode)
        try:
            return generate(noise, **given)
        finally:
            object.__setattr__(model, "decode", other)

    object.__setattr__(model, "decode", other)
    object.__setattr__(model, "generate", generated)
    return model


def random_numbers(context):
    """Latents that are drawn by TensorFlow, not from the noise."""
    import tensorflow as tf

    model = two_groups(context)
    terms = model.terms

    def other(x, noise, **given):
        return terms(x, noise + 0.1 * tf.random.normal(tf.shape(noise)), **given)

    object.__setattr__(model, "terms", other)
    return model


def same_noise(context):
    """Two groups that share the first group's noise."""
    import tensorflow as tf

    model = two_groups(context)
    terms = model.terms

    def other(x, noise, **given):
        return terms(x, tf.concat([noise[..., :3], noise[..., :3], noise[..., :1]], axis=-1), **given)

    object.__setattr__(model, "terms", other)
    return model


def deaf_temperature(context):
    """Examples from the prior at any temperature but the one that was wanted."""
    model = two_groups(context)
    generate = model.generate
    object.__setattr__(model, "generate", lambda noise, *, labels=None, temperature=1.0: generate(noise, labels=labels))
    return model


def with_state(context, statistic):
    """Return the model of two groups with a layer whose state moves towards a statistic of x and valid."""
    import keras

    class Statistic(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="statistic", dtype="float32")
            self.average = self.add_weight(shape=(), initializer="zeros", trainable=False, name="average")

        def call(self, x, valid):
            self.average.assign(0.9 * self.average + 0.1 * statistic(x, valid))
            return x

    model = two_groups(context)
    model.statistic = Statistic()
    terms = model.terms

    def other(x, noise, *, valid=None, training=False, **given):
        if training:
            model.statistic(x, valid)
        return terms(x, noise, valid=valid, training=training, **given)

    object.__setattr__(model, "terms", other)
    return model


def state_that_sums(context):
    """State that takes up a sum over the examples of a microbatch, as a codebook that counts."""
    import tensorflow as tf

    return with_state(context, lambda x, valid: tf.einsum("b,bhwc->", valid, x))


def state_of_padding(context):
    """State that takes up padded rows."""
    import tensorflow as tf

    return with_state(context, lambda x, valid: tf.reduce_mean(x))


def still_group(context):
    """A group that is its mean, whatever the noise."""
    model = two_groups(context)
    terms = model.terms

    def other(x, noise, **given):
        return terms(x, noise * [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0], **given)

    object.__setattr__(model, "terms", other)
    return model


def ignored_labels(context):
    """A conditional model that depends on no label."""
    model = two_groups(replace(context, classes=0))
    for name in ("terms", "generate", "encode", "decode"):
        method = getattr(model, name)
        object.__setattr__(model, name, lambda *given, method=method, labels=None, **more: method(*given, **more))
    return model


def labels_of_q_alone(context):
    """A conditional model that generates the same for each label."""
    import tensorflow as tf

    model = two_groups(context)
    generate = model.generate

    def other(noise, *, labels=None, **given):
        return generate(noise, labels=None if labels is None else tf.zeros_like(labels), **given)

    object.__setattr__(model, "generate", other)
    return model


def penalty_of_others(context):
    """A penalty that is averaged over the batch."""
    import tensorflow as tf

    def change(terms, x, noise):
        means = tf.reduce_mean(tf.square(terms.z["top"]), axis=(0, 2))
        return replace(terms, penalty=tf.zeros_like(means) + tf.reduce_mean(means))

    return changed(context, change)


def player_of_the_decoder(context):
    """A second player that trains a network of the model."""
    import keras

    from vaeflow.contracts import Player

    model = two_groups(context)
    loss = lambda terms, x, step: terms.kl  # noqa: E731
    model.players = (Player("critic", model.decoder, keras.optimizers.SGD(0.1), loss),)
    return model


def silent_group(context):
    """A group without noise."""
    model = two_groups(context)
    model.latents = (model.latents[0], replace(model.latents[1], noise_size=0))
    return model


def undeclared_part(context):
    """A model that builds a prior of the config without a word."""
    context.parts.prior(2)
    return two_groups(context)


def padding_leaks():
    """A loss over the batch that takes padding for examples."""
    import tensorflow as tf

    class Objective:
        samples, per_example = 1, False

        def loss(self, terms, schedule, step):
            mean = tf.reduce_mean(terms.z["z"][0], axis=0)
            return tf.reduce_sum(tf.square(mean)) + terms.kl - tf.reduce_mean(terms.log_likelihood, axis=0)

    return Objective()


def hidden_batch():
    """A loss over the batch that does not say so."""
    import tensorflow as tf

    class Objective:
        samples = 1

        def loss(self, terms, schedule, step):
            share = terms.valid / tf.reduce_sum(terms.valid)
            mean = tf.tensordot(share, terms.z["z"][0], axes=1)
            return tf.reduce_sum(tf.square(mean)) + terms.kl - tf.reduce_mean(terms.log_likelihood, axis=0)

    return Objective()


MODELS = (
    group_of_the_wrong_sign,
    group_of_the_batch,
    forgotten_group,
    half_of_log_q,
    still_group,
    ignored_labels,
    labels_of_q_alone,
    penalty_of_others,
    player_of_the_decoder,
    silent_group,
    undeclared_part,
    state_that_sums,
    state_of_padding,
    mean_over_pixels,
    unused_latents,
    random_numbers,
    same_noise,
    deaf_temperature,
)


@hookimpl
def vaeflow_components():
    """Return all of them."""
    for build in MODELS:
        yield Component("model", build.__name__.replace("_", "-"), build, uses=("likelihood",))
    for build in (padding_leaks, hidden_batch):
        yield Component("objective", build.__name__.replace("_", "-"), build)
