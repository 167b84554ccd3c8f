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
    `z_kl/all`. TensorBoard opens the first two groups of a page: with this prefix they are test and train.

    Args:
        per_dimension: [D] by split.
        step: optimizer steps taken.
    """
    for split, values in per_dimension.items():
        group = "z_kl" if split == "test" else f"z_kl_{split}"
        for dimension, value in enumerate(values):
            tf.summary.scalar(f"{group}/{dimension:03d}", value, step=step)
        if np.isfinite(values).all():
            tf.summary.histogram(f"{group}/all", values, step=step)
