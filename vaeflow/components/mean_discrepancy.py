"""The maximum mean discrepancy between latents of a batch and their prior."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.data.noise import Noise

if TYPE_CHECKING:
    from vaeflow.contracts import Terms


def discrepancy_of(terms: Terms, step: tf.Tensor) -> tf.Tensor:
    """Return the squared discrepancy (Gretton et al. 2012) of the first samples of all groups from p(z), a scalar.

    The prior's samples are a function of the step, the same in all microbatches.

    Args:
        terms: of B rows; padding is excluded.
        step: of training.
    """
    rows, drawn, given = terms.log_q.shape[1], [], []
    for name, z in terms.z.items():
        width = z.shape[-1]
        noise = Noise(0, f"discrepancy/{name}").normal(step, tf.constant(0, tf.int64), rows, width)
        drawn.append(tf.reshape(terms.p[name].sample(noise), (rows, -1)))
        given.append(tf.reshape(z[0], (rows, -1)))
    valid = tf.ones((rows,)) if terms.valid is None else terms.valid
    return discrepancy(tf.concat(given, axis=1), tf.concat(drawn, axis=1), valid)


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
