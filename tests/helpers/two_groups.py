"""A model with two groups of latents, one of them maps, with labels and a penalty; and a loss over the batch."""

from __future__ import annotations

from math import prod

from vaeflow import Component, hookimpl

TOP, SIDE = 3, 2  # latents of the upper group; side of the lower group's map


def two_groups(context, *, penalty: float = 0.1, units: int = 8):  # noqa: C901  # a plugin is one function
    """Top [3] to bottom [2, 2, 1] to x, inferred from the top down: q(top given x), q(bottom given top and x)."""
    import keras
    import tensorflow as tf

    from vaeflow.contracts import LatentGroup, Terms
    from vaeflow.model.distributions import DiagonalNormal, StandardNormal
    from vaeflow.model.latents import split_noise

    classes, low = context.classes, SIDE * SIDE
    inputs = prod(context.x_shape)

    def network(given, outputs, name):
        first = keras.layers.Dense(units, "tanh", dtype="float32")
        return keras.Sequential([keras.Input((given,)), first, keras.layers.Dense(outputs, dtype="float32")], name=name)

    def joined(*values):
        """Broadcast leading axes to those of the last value, and join along the last axis."""
        lead = tf.shape(values[-1])[:-1]
        full = [tf.broadcast_to(v, tf.concat([lead, tf.shape(v)[-1:]], axis=0)) for v in values[:-1]]
        return tf.concat([*full, values[-1]], axis=-1)

    def outputs_of(owner, *values):
        h = joined(*values) if len(values) > 1 else values[0]
        for layer in owner.layers:
            h = layer(h)
        return h

    def normal(owner, *values):
        return DiagonalNormal(*tf.split(outputs_of(owner, *values), 2, axis=-1))

    class Maps:
        """A diagonal normal whose samples are maps [2, 2, 1]."""

        def __init__(self, flat):
            self.flat = flat

        def sample(self, noise):
            return as_maps(self.flat.sample(noise))

        def log_prob(self, value):
            return self.flat.log_prob(flattened(value))

        def mean(self):
            return as_maps(self.flat.mean())

    def as_maps(flat):
        return tf.reshape(flat, tf.concat([tf.shape(flat)[:-1], (SIDE, SIDE, 1)], axis=0))

    def flattened(maps):
        return tf.reshape(maps, tf.concat([tf.shape(maps)[:-3], (low,)], axis=0))

    def beside(labels, *values):
        return values if labels is None else (labels, *values)

    class Model(keras.Model):
        def __init__(self):
            super().__init__(name="two_groups")
            self.x_shape = context.x_shape
            self.latents = (LatentGroup("top", (TOP,), TOP), LatentGroup("low-maps", (SIDE, SIDE, 1), low))
            self.likelihood = context.parts.likelihood(context.x_shape)
            self.encoder = network(inputs + classes, 2 * TOP, "encoder")
            self.encoder_low = network(inputs + classes + TOP, 2 * low, "encoder_low")
            self.prior = network(TOP + classes, 2 * low, "prior")
            self.decoder = network(low + classes, prod(self.likelihood.parameters_shape), "decoder")

        @property
        def parts(self):
            names = ("encoder", "encoder_low", "prior", "decoder", "likelihood")
            return {name: getattr(self, name) for name in names}

        def terms(self, x, noise, *, labels=None, valid=None, training=False):
            own, seen = split_noise(noise, self.latents), tf.reshape(x, (-1, inputs))
            q_top = normal(self.encoder, *beside(labels, seen))
            top = q_top.sample(own["top"])
            q_low = Maps(normal(self.encoder_low, *beside(labels, seen, top)))
            low_maps = q_low.sample(own["low-maps"])
            p_top, p_low = StandardNormal(TOP), self.p_low(top, labels)
            p_x = self.decode({"top": top, "low-maps": low_maps}, labels=labels)
            ratio = tf.reduce_mean(q_low.log_prob(low_maps) - p_low.log_prob(low_maps), axis=0)
            return Terms(
                log_likelihood=p_x.log_prob(x),
                kl_terms={"top": p_top.kl_terms(q_top), "low-maps": ratio[:, None]},
                z={"top": top, "low-maps": low_maps},
                log_q=q_top.log_prob(top) + q_low.log_prob(low_maps),
                q={"top": q_top, "low-maps": q_low},
                p={"top": p_top, "low-maps": p_low},
                p_x=p_x,
                penalty=penalty * tf.reduce_mean(tf.square(q_top.mean()), axis=-1) if penalty else None,
            )

        def p_low(self, top, labels):
            return Maps(normal(self.prior, *beside(labels, top)))

        def generate(self, noise, *, labels=None, temperature=1.0):
            own = split_noise(noise * temperature, self.latents, generating=True)
            low_maps = self.p_low(own["top"], labels).sample(own["low-maps"])
            return self.decode({"low-maps": low_maps}, labels=labels)

        def encode(self, x, *, labels=None):
            seen = tf.reshape(x, (-1, inputs))
            top = normal(self.encoder, *beside(labels, seen)).mean()
            return {"top": top, "low-maps": Maps(normal(self.encoder_low, *beside(labels, seen, top))).mean()}

        def decode(self, z, *, labels=None):
            outputs = outputs_of(self.decoder, *beside(labels, flattened(z["low-maps"])))
            shape = tf.concat([tf.shape(outputs)[:-1], self.likelihood.parameters_shape], axis=0)
            return self.likelihood.distribution(tf.reshape(outputs, shape))

    return Model()


def centred(*, weight: float = 1.0):
    """The ELBO, and a penalty on the mean of each latent over the batch."""
    import tensorflow as tf

    class Objective:
        samples, per_example = 2, False

        def loss(self, terms, schedule, step):
            bound = tf.reduce_mean(terms.log_likelihood, axis=0) - schedule.penalty(terms.kl, step)
            share = terms.valid / tf.reduce_sum(terms.valid)
            penalty = 0.0
            for z in terms.z.values():
                of_batch = tf.tensordot(share, tf.reduce_mean(z, axis=0), axes=1)
                penalty += tf.reduce_sum(tf.square(of_batch))
            return weight * penalty - bound

    return Objective()


@hookimpl
def vaeflow_components():
    """Return both."""
    yield Component("model", "two-groups", two_groups, uses=("likelihood",))
    yield Component("objective", "centred", centred)
