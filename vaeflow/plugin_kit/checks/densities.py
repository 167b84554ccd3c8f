"""Test whether samples have the claimed density."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.plugin_kit.checks.require import BrokenRuleError, SkippedRuleError

if TYPE_CHECKING:
    from collections.abc import Callable

ERRORS = 5.0  # allowed error of an estimate, in standard errors
NEAR = 10  # each comparison uses a tenth of the samples
ENOUGH = 0.99  # share of samples; at some, a determinant in float32 may be inexact


def is_of_noise(draw: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]], noise: tf.Tensor) -> bool:
    """Return whether a density follows from the noise's density by a change of variables.

    log q(z) = log N(noise; 0, I) - log |det dz/dnoise| is then exact, unless several noises lead to one z.

    Args:
        draw: noise [..., E] to z [..., D] and its log-density [...], nats.
        noise: standard normal.
    """
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(noise)
        z, log_density = draw(noise)
        columns = tf.unstack(z, axis=-1)
    rows = [tape.gradient(column, noise) for column in columns]
    if len(rows) != noise.shape[-1] or any(row is None for row in rows):
        return False
    jacobian = tf.stack([tf.convert_to_tensor(row) for row in rows], axis=-2)  # the gradient of a gather is sparse
    signs, log_volume = np.linalg.slogdet(np.asarray(jacobian, np.float64))
    log_normal = -0.5 * np.sum(np.square(noise) + np.log(2 * np.pi), axis=-1)
    near = np.abs(log_normal - log_volume - log_density) <= 1e-3 * (1 + np.abs(log_density))
    return bool(abs(signs.mean()) == 1.0 and near.mean() >= ENOUGH)


def require_density(z: np.ndarray, log_density: np.ndarray, what: str, *, of_noise: bool = False) -> None:
    """Check that z [N, D] were drawn from a density, by importance sampling of three normal densities.

    One is centred where the density is highest, the others at two samples.

    Args:
        z: the samples.
        log_density: at each, [N], nats.
        what: names it, for the message.
        of_noise: whether `is_of_noise` holds; then the density is correct unless several noises lead to one z.
    """
    covariance = np.atleast_2d(np.cov(z, rowvar=False)) + 1e-24 * np.eye(z.shape[1])
    white = np.linalg.solve(np.linalg.cholesky(covariance), (z - z.mean(axis=0)).T).T
    for place in (int(np.argmax(log_density)), 0, 1):
        order = np.argsort(np.sum((white - white[place]) ** 2, axis=1))
        _require_density_near(z, log_density, order[: len(z) // NEAR], what, of_noise=of_noise)


def _require_density_near(
    z: np.ndarray, log_density: np.ndarray, near: np.ndarray, what: str, *, of_noise: bool
) -> None:
    """Compare samples with their density near some of them.

    For r normal and w = r(z) / q(z), the mean of w over samples of q is 1, and that of w * (z - m) is 0. r is narrower
    than those samples, so that q has mass wherever r has, unless it is a thin curved surface.
    """
    centre = z[near].mean(axis=0)
    triangle = 0.5 * np.linalg.cholesky(np.atleast_2d(np.cov(z[near], rowvar=False)) + 1e-24 * np.eye(z.shape[1]))
    standard = np.linalg.solve(triangle, (z - centre).T).T
    log_r = -0.5 * np.sum(standard**2 + np.log(2 * np.pi), axis=1) - np.sum(np.log(np.diag(triangle)))
    weights = np.exp(np.clip(log_r - log_density, -700, 50))
    error = weights.std() / np.sqrt(len(z))
    if of_noise and weights.mean() < 1.0 + ERRORS * error + 1e-4:
        return  # less than 1 means that r has mass where the samples, on a bent sheet, have not
    if error > 0.2 * max(weights.mean(), 1e-3):
        raise SkippedRuleError(f"samples of {what} are spread too far for a test with 50,000 of them")
    total = weights.mean()
    if abs(total - 1.0) > ERRORS * error + 1e-4:
        raise BrokenRuleError(f"{what} integrates to {total:.4g} (standard error {error:.1g}), not to 1")
    moments = np.concatenate([standard, standard**2 - 1.0], axis=1) * weights[:, None]
    means, errors = moments.mean(axis=0), moments.std(axis=0) / np.sqrt(len(z))
    if np.any(np.abs(means) > ERRORS * errors + 1e-3):
        worst = int(np.argmax(np.abs(means) / (errors + 1e-9)))
        name = f"{'mean' if worst < z.shape[1] else 'variance'} of dimension {worst % z.shape[1]}"
        raise BrokenRuleError(
            f"samples of {what} do not have its density: weighed by it, the {name} of a normal density is off by "
            f"{means[worst]:.4f} standard deviations (standard error {errors[worst]:.1g})"
        )
