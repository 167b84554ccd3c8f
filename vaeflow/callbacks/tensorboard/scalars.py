"""Scalars by name, and the divergence of each latent dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Mapping


def write_scalars(scalars: Mapping[str, float], step: int) -> None:
    """Write each scalar under its own name."""
    for name, value in scalars.items():
        tf.summary.scalar(name, value, step=step)


def write_kl_dimensions(per_dimension: Mapping[str, np.ndarray], step: int) -> None:
    """Write the mean KL divergence of each latent dimension, in nats.

    `z_kl/000` and so on for the test split, `z_kl_train/000` for another; in addition a histogram over the dimensions,
    `z_kl/all`. TensorBoard opens the first two groups of a page: with this prefix they are test and train. If the model
    has several groups of latents, the group's name is appended: `z_kl_top/000`, `z_kl_train_top/000`.

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
