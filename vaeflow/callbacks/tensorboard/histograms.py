"""Histograms of weights and latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.model.variable_names import named_weights

if TYPE_CHECKING:
    from vaeflow.model.vae import VAE


def write_weights(model: VAE, step: int) -> None:
    """Write a histogram of each variable, `weights/encoder/00_conv2d_kernel` and so on."""
    for name, variable in named_weights(model):
        _write(f"weights/{name}", np.asarray(variable.value), step)


def write_latents(means: np.ndarray, step: int) -> None:
    """Write a histogram of the posterior's means for each latent dimension, `z_mean/000` and so on.

    Args:
        means: [N, D].
        step: optimizer steps taken.
    """
    for dimension, values in enumerate(means.T):
        _write(f"z_mean/{dimension:03d}", values, step)


def _write(name: str, values: np.ndarray, step: int) -> None:
    finite = values[np.isfinite(values)]  # a histogram has no place for NaN
    if finite.size:
        tf.summary.histogram(name, finite, step=step)
