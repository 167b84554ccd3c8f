"""Histograms of weights and latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.model.variable_names import named_weights
from vaeflow.plots.latents import leading_dimensions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.contracts import LatentVariableModel

MOST = 100  # histograms of a group that is not a vector


def write_weights(model: LatentVariableModel, step: int) -> None:
    """Write a histogram of each variable, `weights/encoder/00_conv2d_kernel` and so on."""
    for name, variable in named_weights(model):
        _write(f"weights/{name}", np.asarray(variable.value), step)


def write_latents(means: Mapping[str, np.ndarray], step: int) -> None:
    """Write a histogram of the posterior's means for each latent dimension, `z_mean/000` and so on.

    If there are several groups, they are `z_mean_GROUP/000`. Of a group that is not a vector, the 100 dimensions whose
    means vary most are written.

    Args:
        means: [N, *shape] by group.
        step: optimizer steps taken.
    """
    for name, of_group in means.items():
        flat = of_group.reshape((len(of_group), -1))
        group = "z_mean" if len(means) == 1 else f"z_mean_{name}"
        shown = range(flat.shape[1]) if of_group.ndim == 2 else sorted(leading_dimensions(flat, MOST))
        for dimension in shown:
            _write(f"{group}/{dimension:03d}", flat[:, dimension], step)


def _write(name: str, values: np.ndarray, step: int) -> None:
    finite = values[np.isfinite(values)]  # a histogram has no place for NaN
    if finite.size:
        tf.summary.histogram(name, finite, step=step)
