"""Objectives with a second player: FactorVAE's discriminator, and ones with a mistake each."""

from __future__ import annotations

from vaeflow import Component, hookimpl
from vaeflow.contracts import Player

MISTAKES = ("idle", "twice", "shared", "empty", "state")


def factor(*, gamma: float = 5.0, mistake: str = ""):
    """FactorVAE (Kim and Mnih 2018): the ELBO less gamma times the total correlation that a discriminator estimates."""
    import keras
    import tensorflow as tf

    network = keras.Sequential([keras.layers.Dense(16, activation="relu"), keras.layers.Dense(2)])
    normalized = keras.layers.BatchNormalization()
    normalized.build((None, 2))

    def permuted(z, valid):
        """Return z [B, D] whose dimension d is that of the example d + 1 further on, among the examples."""
        rows, examples = tf.range(tf.shape(z)[0]), tf.maximum(tf.cast(tf.reduce_sum(valid), tf.int32), 1)
        columns = enumerate(tf.unstack(z, axis=1))
        return tf.stack([tf.gather(column, (rows + d + 1) % examples) for d, column in columns], axis=1)

    def discriminator_loss(terms, _x, _step):
        z = terms.z["z"][0]
        log_joint = tf.nn.log_softmax(network(z), axis=-1)[:, 0]
        log_product = tf.nn.log_softmax(network(permuted(z, terms.valid)), axis=-1)[:, 1]
        return -0.5 * (log_joint + log_product)

    class Factor:
        samples = 1
        per_example = False

        def __init__(self):
            optimizer = keras.optimizers.Adam(0.0 if mistake == "idle" else 1e-2)
            trained = {"empty": keras.layers.ReLU(), "state": normalized}.get(mistake, network)
            player = Player("discriminator", trained, optimizer, discriminator_loss)
            other = Player("another", network, keras.optimizers.Adam(1e-2), discriminator_loss)
            self.players = (player, *{"twice": [player], "shared": [other]}.get(mistake, []))

        def loss(self, terms, _schedule, _step):
            logits = network(terms.z["z"][0])
            elbo = tf.reduce_mean(terms.log_likelihood, axis=0) - terms.kl
            return gamma * (logits[:, 0] - logits[:, 1]) - elbo

    return Factor()


@hookimpl
def vaeflow_components():
    yield Component("objective", "factor", factor)
