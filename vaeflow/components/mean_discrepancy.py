"""The maximum mean discrepancy between latents of a batch and their prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.data.noise import Noise
from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.contracts import Terms


def discrepancy_of(terms: Terms, step: tf.Tensor) -> tf.Tensor:
    """Return the squared discrepancy (Gretton et al. 2012) of the first samples of z from p(z), a scalar.

    The prior's samples are a function of the step, the same in all microbatches.

    Args:
        terms: of B rows; padding is excluded.
        step: of training.

    Raises:
        UsageError: if the latents are not one vector: a group's prior given the groups above it is not p(z).
    """
    shapes = {name: tuple(z.shape[2:]) for name, z in terms.z.items()}
    if len(shapes) != 1 or len(next(iter(shapes.values()))) != 1:
        given = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
        raise UsageError(f"a discrepancy from p(z) needs a model with one group of latents, a vector; it has {given}")
    ((name, z),) = terms.z.items()
    noise = Noise(0, "discrepancy").normal(step, tf.constant(0, tf.int64), z.shape[1], z.shape[2])
    valid = tf.ones((z.shape[1],)) if terms.valid is None else terms.valid
    return discrepancy(z[0], terms.p[name].sample(noise), valid)


def discrepancy(z: tf.Tensor, other: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """Return E k(z, z') + E k(other, other') - 2 E k(z, other), k(a, b) = exp(-|a - b|^2 / D), over valid rows.

    Args:
        z: [B, D].
        other: [B, D].
        valid: [B], 1 for an example and 0 for padding.
    """
    pairs = valid[:, None] * valid[None, :] / tf.maximum(tf.square(tf.reduce_sum(valid)), 1.0)
    kernels = _kernel(z, z) + _kernel(other, other) - 2.0 * _kernel(z, other)
    return tf.reduce_sum(pairs * kernels)


def _kernel(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    apart = tf.reduce_sum(tf.square(a[:, None, :] - b[None, :, :]), axis=-1)
    return tf.exp(-apart / tf.cast(a.shape[-1], tf.float32))
