"""Scalars by name, and the divergence of each latent dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Mapping

ON_TOP = {"elbo": "ELBO", "log_likelihood": "Log-likelihood", "kl": "KL"}
"""Groups of the ELBO and its two terms, with a card for each split.

TensorBoard sorts names by their characters, so that capitals are before small letters. It opens the first two groups of
the page Time Series (ELBO and KL, of which the first card is `ELBO/test`), and HParams shows the first five names.
"""


def tag_of(name: str) -> str:
    """Return the name of a scalar in TensorBoard.

    >>> [tag_of(name) for name in ("test/elbo", "train/kl", "train/kl/top", "test/active_units")]
    ['ELBO/test', 'KL/train', 'train/kl/top', 'test/active_units']
    """
    split, _, term = name.partition("/")
    return f"{ON_TOP[term]}/{split}" if term in ON_TOP else name


def write_scalars(scalars: Mapping[str, float], step: int) -> None:
    """Write each scalar under the name of `tag_of`."""
    for name, value in scalars.items():
        tf.summary.scalar(tag_of(name), value, step=step)


def write_kl_dimensions(per_dimension: Mapping[str, np.ndarray], step: int) -> None:
    """Write the mean KL divergence of each latent dimension, in nats.

    `z_kl/000` and so on for the test split, `z_kl_train/000` for another; in addition a histogram over the dimensions,
    `z_kl/all`. If the model has several groups of latents, the group's name is appended: `z_kl_top/000`,
    `z_kl_train_top/000`.

    Args:
        per_dimension: [D] by split, or by `SPLIT/GROUP`.
        step: optimizer steps taken.
    """
    for key, values in per_dimension.items():
        split, _, latents = key.partition("/")
        group = "_".join(["z_kl", *([] if split == "test" else [split]), *([latents] if latents else [])])
        for dimension, value in enumerate(values):
            tf.summary.scalar(f"{group}/{dimension:03d}", value, step=step)
        if np.isfinite(values).all():
            tf.summary.histogram(f"{group}/all", values, step=step)
