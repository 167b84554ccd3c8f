"""The model: an encoder's outputs, their closest codes, and an image given the codes."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.contracts import LatentGroup, Terms
from vaeflow.model.saved import SavedByArguments
from vaeflow_vq.distributions import CodesFromPrior, Quantized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.contracts import Distribution, Likelihood
    from vaeflow_vq.codebook import Codebook
    from vaeflow_vq.priors import CodePrior

GROUP = "codes"


@keras.saving.register_keras_serializable(package="vaeflow_vq")
class VectorQuantized(SavedByArguments):
    """q puts all probability on one map of codes, so KL(q, p) = -log p(codes), and the ELBO is log p(x, codes).

    The decoder's gradient passes the quantization as if it were the identity. The prior learns the codes; its gradient
    reaches nothing else. The penalty is the commitment loss, summed over positions (equation 3 of van den Oord et al.
    2017; there it is a mean).

    Args:
        encoder: [B, *X] to [B, h, w, D].
        codebook: of vectors of size D.
        prior: of maps [h, w] of codes.
        decoder: [B, h, w, D] to [B, H, W, channels].
        likelihood: of examples.
        x_shape: X.
        commitment: weight of the commitment loss.
    """

    def __init__(
        self,
        *,
        encoder: keras.Model,
        codebook: Codebook,
        prior: CodePrior,
        decoder: keras.Model,
        likelihood: Likelihood,
        x_shape: tuple[int, ...],
        commitment: float,
    ) -> None:
        super().__init__(name="vector_quantized")
        self.encoder, self.codebook, self.prior, self.decoder = encoder, codebook, prior, decoder
        self.likelihood, self.x_shape, self.commitment = likelihood, tuple(x_shape), commitment
        shape = (*prior.grid, codebook.size)
        self.latents = (LatentGroup(GROUP, shape, 0, deterministic=True, prior_noise_size=prior.positions),)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**self.parts, "x_shape": list(self.x_shape), "commitment": self.commitment}

    @property
    def parts(self) -> dict[str, object]:
        """The owners of the weights."""
        return {name: getattr(self, name) for name in ("encoder", "codebook", "prior", "decoder", "likelihood")}

    def terms(
        self,
        x: tf.Tensor,
        noise: tf.Tensor,
        *,
        labels: tf.Tensor | None = None,  # noqa: ARG002  # it takes none
        valid: tf.Tensor | None = None,
        training: bool = False,
    ) -> Terms:
        """Return the terms of the ELBO, which is the same for each of the L samples."""
        valid = tf.ones(tf.shape(x)[:1]) if valid is None else valid
        outputs = self.encoder(x, training=training)
        flat = tf.reshape(outputs, (-1, self.prior.positions, self.codebook.size))
        indices, codes = self.codebook(flat, valid, training=training)
        q = Quantized(tf.reshape(flat + tf.stop_gradient(codes - flat), tf.shape(outputs)))
        z = q.sample(noise)
        p_x = self._decoded(z, training=training)
        return Terms(
            log_likelihood=p_x.log_prob(x),
            kl_terms={GROUP: -self.prior.log_prob(indices)[:, None]},
            z={GROUP: z},
            log_q=q.log_prob(z),
            q={GROUP: q},
            p={GROUP: CodesFromPrior(self.prior, self.codebook, self.codebook.table())},
            p_x=p_x,
            penalty=self.commitment * tf.reduce_sum(tf.square(flat - codes), axis=(1, 2)),
        )

    def generate(self, noise: tf.Tensor, *, labels: tf.Tensor | None = None, temperature: float = 1.0) -> Distribution:  # noqa: ARG002
        """Return p(x given codes) for codes from the prior, whose logits are divided by the temperature."""
        p = CodesFromPrior(self.prior, self.codebook, self.codebook.table(), temperature)
        return self._decoded(p.sample(noise))

    def encode(self, x: tf.Tensor, *, labels: tf.Tensor | None = None) -> dict[str, tf.Tensor]:  # noqa: ARG002
        """Return the vectors of the closest codes, [B, h, w, D]."""
        outputs, table = self.encoder(x), self.codebook.table()
        return {GROUP: tf.gather(table, self.codebook.nearest(outputs, table))}

    def decode(self, z: Mapping[str, tf.Tensor], *, labels: tf.Tensor | None = None) -> Distribution:  # noqa: ARG002
        """Return p(x given z) for vectors [B, h, w, D], codes or not."""
        return self._decoded(z[GROUP])

    def _decoded(self, z: tf.Tensor, *, training: bool = False) -> Distribution:
        """Return p(x given z) over the leading axes of z [..., h, w, D]."""
        shape, parameters_shape = tf.shape(z), self.likelihood.parameters_shape
        images = self.decoder(tf.reshape(z, (-1, *self.latents[0].shape)), training=training)
        lead = shape[: len(z.shape) - 3]
        assert images.shape[1:].num_elements() == prod(parameters_shape)
        return self.likelihood.distribution(tf.reshape(images, tf.concat([lead, parameters_shape], axis=0)))
