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

    `kl_dimension/000` and so on for the test split, `kl_dimension_train/000` for another; beside them a histogram over
    the dimensions, `kl_dimension` or `kl_dimension_train`.

    Args:
        per_dimension: [D] by split.
        step: optimizer steps taken.
    """
    for split, values in per_dimension.items():
        group = "kl_dimension" if split == "test" else f"kl_dimension_{split}"
        for dimension, value in enumerate(values):
            tf.summary.scalar(f"{group}/{dimension:03d}", value, step=step)
        if np.isfinite(values).all():
            tf.summary.histogram(group, values, step=step)
