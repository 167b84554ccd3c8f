"""Counts given latents, a batch and the total of an example."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.contracts import LatentGroup, Terms
from vaeflow.model.distributions import DiagonalNormal, StandardNormal
from vaeflow.model.saved import SavedByArguments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaeflow.contracts import Distribution
    from vaeflow_counts.heads import DispersedCounts

GROUP = "z"


@keras.saving.register_keras_serializable(package="vaeflow_counts")
class CountsModel(SavedByArguments):
    """q(z given x, batch) is Gaussian; counts have the mean total * softmax(decoder(z, batch)).

    Where there is no example, in `generate` and `decode`, the total is the average of the training examples.

    Args:
        features: G.
        latent_size: D.
        batches: C; 0 without labels.
        hidden: units of the layers.
        likelihood: of counts, from log means and perhaps logits of zeros.
    """

    def __init__(
        self, *, features: int, latent_size: int, batches: int, hidden: Sequence[int], likelihood: DispersedCounts
    ) -> None:
        super().__init__(name="counts")
        self.x_shape, self.likelihood, self.classes = (features,), likelihood, batches
        self._sizes = {"features": features, "latent_size": latent_size, "batches": batches, "hidden": list(hidden)}
        self.latents = (LatentGroup(GROUP, (latent_size,), latent_size),)
        self.encoder = _dense(features + batches, hidden, 2 * latent_size, "encoder")
        outputs = likelihood.parameters_shape[0]
        self.decoder = _dense(latent_size + batches, tuple(reversed(hidden)), outputs, "decoder")
        self.average = self.add_weight(shape=(), initializer="ones", trainable=False, dtype="float32", name="total")

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**self._sizes, "likelihood": self.likelihood}

    @property
    def parts(self) -> dict[str, object]:
        """The owners of the weights."""
        return {name: getattr(self, name) for name in ("encoder", "decoder", "likelihood")}

    def terms(
        self,
        x: tf.Tensor,
        noise: tf.Tensor,
        *,
        labels: tf.Tensor | None = None,
        valid: tf.Tensor | None = None,
        training: bool = False,
    ) -> Terms:
        """Return the terms of the ELBO of log p(x given its total)."""
        counts = x * self.likelihood.counts_per_unit
        totals = tf.reduce_sum(counts, axis=-1)
        if training:
            self._average(totals, tf.ones_like(totals) if valid is None else valid)
        q, p = self._posterior(counts, labels), StandardNormal(self.latents[0].shape[0])
        z = q.sample(noise)
        p_x = self._counts(z, labels, tf.math.log(tf.maximum(totals, 1.0)))
        return Terms(
            log_likelihood=p_x.log_prob(x),
            kl_terms={GROUP: p.kl_terms(q)},
            z={GROUP: z},
            log_q=q.log_prob(z),
            q={GROUP: q},
            p={GROUP: p},
            p_x=p_x,
        )

    def generate(self, noise: tf.Tensor, *, labels: tf.Tensor | None = None, temperature: float = 1.0) -> Distribution:
        """Return p(x given z) for z from the prior, whose noise is multiplied by the temperature."""
        return self.decode({GROUP: temperature * noise}, labels=labels)

    def encode(self, x: tf.Tensor, *, labels: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        """Return the posterior's means, [B, D]."""
        return {GROUP: self._posterior(x * self.likelihood.counts_per_unit, labels).mean()}

    def decode(self, z: Mapping[str, tf.Tensor], *, labels: tf.Tensor | None = None) -> Distribution:
        """Return p(x given z) for latents [B, D], with the average total."""
        return self._counts(z[GROUP], labels, tf.math.log(tf.convert_to_tensor(self.average)))

    def _posterior(self, counts: tf.Tensor, labels: tf.Tensor | None) -> DiagonalNormal:
        return DiagonalNormal(*tf.split(self.encoder(_beside(tf.math.log1p(counts), labels)), 2, axis=-1))

    def _counts(self, z: tf.Tensor, labels: tf.Tensor | None, log_total: tf.Tensor) -> Distribution:
        """Return p(x given z) for z [..., D] and log totals [B] or of all examples."""
        flat = tf.reshape(_beside(z, labels), (-1, self.decoder.input_shape[-1]))
        outputs = tf.reshape(
            self.decoder(flat), tf.concat([tf.shape(z)[:-1], self.likelihood.parameters_shape], axis=0)
        )
        scores, more = outputs[..., : self.x_shape[0]], outputs[..., self.x_shape[0] :]
        return self.likelihood.distribution(
            tf.concat([tf.nn.log_softmax(scores) + log_total[..., None], more], axis=-1)
        )

    def _average(self, totals: tf.Tensor, valid: tf.Tensor) -> None:
        now = tf.reduce_sum(totals * valid) / tf.maximum(tf.reduce_sum(valid), 1.0)
        self.average.assign(0.99 * self.average + 0.01 * now)


def _dense(inputs: int, hidden: Sequence[int], outputs: int, name: str) -> keras.Model:
    layers = [keras.layers.Dense(units, "relu") for units in hidden]
    return keras.Sequential([keras.Input((inputs,)), *layers, keras.layers.Dense(outputs, dtype="float32")], name=name)


def _beside(values: tf.Tensor, labels: tf.Tensor | None) -> tf.Tensor:
    """Return values [..., B, K] with the labels [B, C] of their examples beside them."""
    if labels is None:
        return values
    shape = tf.concat([tf.shape(values)[:-1], tf.shape(labels)[-1:]], axis=0)
    return tf.concat([values, tf.broadcast_to(labels, shape)], axis=-1)
