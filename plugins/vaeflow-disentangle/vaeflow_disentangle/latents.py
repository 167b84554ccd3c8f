"""The vectors of latents that these objectives need, and which rows of a microbatch are examples.

Shapes: L samples, B rows of a microbatch, D latent dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from vaeflow.errors import UsageError
from vaeflow.model.distributions import DiagonalNormal

if TYPE_CHECKING:
    from vaeflow.contracts import Distribution, Terms


class Codes(NamedTuple):
    """The latents of a microbatch.

    Attributes:
        z: [L, B, D].
        q: their posterior.
        valid: [B] float32, 1 for an example and 0 for padding.
    """

    z: tf.Tensor
    q: Distribution
    valid: tf.Tensor

    @property
    def examples(self) -> tf.Tensor:
        """The number of examples, a scalar float32; 1 if there are none, since it divides."""
        return tf.maximum(tf.reduce_sum(self.valid), 1.0)

    @property
    def rank(self) -> tf.Tensor:
        """The number of each example among the examples, [B] int32; at padding, that of the last one before it."""
        return tf.maximum(tf.cast(tf.cumsum(self.valid), tf.int32) - 1, 0)


def codes_of(terms: Terms, objective: str) -> Codes:
    """Return the latents of a model with one group, a vector.

    Args:
        terms: of the model.
        objective: named in the error.

    Raises:
        UsageError: if there are several groups, or maps of latents.
    """
    if len(terms.z) != 1:
        raise UsageError(
            f"objective {objective} needs a model with one group of latents, a vector; it has {_given(terms)}"
        )
    (codes,) = codes_by_group(terms, objective)
    return codes


def codes_by_group(terms: Terms, objective: str) -> list[Codes]:
    """Return the latents of each group, from the top down; each must be a vector.

    Args:
        terms: of the model.
        objective: named in the error.

    Raises:
        UsageError: if there are maps of latents.
    """
    if any(z.shape.rank != 3 for z in terms.z.values()):
        raise UsageError(f"objective {objective} needs groups of latents that are vectors; it has {_given(terms)}")
    valid = tf.ones((next(iter(terms.z.values())).shape[1],)) if terms.valid is None else terms.valid
    return [Codes(z, terms.q[name], valid) for name, z in terms.z.items()]


def _given(terms: Terms) -> str:
    return ", ".join(f"{name} {list(z.shape[2:])}" for name, z in terms.z.items())


def normal_of(codes: Codes, objective: str) -> DiagonalNormal:
    """Return the posterior if its dimensions are independent normals.

    Raises:
        UsageError: if it is another distribution.
    """
    if type(codes.q) is not DiagonalNormal:  # a subclass may have another density
        raise UsageError(
            f"objective {objective} needs posterior = 'diagonal-gaussian', whose dimensions are independent; "
            f"this posterior is a {type(codes.q).__name__}"
        )
    return codes.q
