"""Rules for posteriors and priors: samples are functions of noise, densities are those of the samples."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vaeflow import elbo
from vaeflow.checks.rule import BrokenRuleError, LeftOutError, Rule, require, require_close, require_tensor
from vaeflow.checks.subject import normal
from vaeflow.engine.precision import built_in

if TYPE_CHECKING:
    from vaeflow.checks.subject import Subject
    from vaeflow.contracts import Distribution, Posterior, Prior

FEATURES, DRAWS = 8, 50_000
ERRORS = 5.0  # standard errors that an estimate may be off by
MOST_DIMENSIONS = 3
NEAR = 10  # a density is compared with a tenth of its samples at a time
SHAKEN = 0.2
"""Weights are moved by normal numbers of this size: a flow that starts as the identity would show nothing."""


def _posterior(subject: Subject, rows: int) -> tuple[Posterior, Distribution]:
    """Return a posterior with shaken weights, and q(z given x) for some rows of features."""
    with built_in("float32"):
        posterior = subject.posterior()
        features = normal(rows, FEATURES, name="features")
        posterior.distribution(features)  # makes its variables
    for index, variable in enumerate(getattr(posterior, "trainable_variables", ())):
        shape = tuple(variable.shape) or (1,)
        variable.assign(variable + SHAKEN * tf.reshape(normal(*shape, name=f"shake/{index}"), variable.shape))
    return posterior, posterior.distribution(features)


def posterior_shapes(subject: Subject) -> None:
    """Draw 1 and 3 samples for 1, 2 and 7 examples."""
    for rows in (1, 2, 7):
        posterior, q = _posterior(subject, rows)
        for samples in (1, 3):
            z, log_q = elbo.draw(q, normal(samples, rows, posterior.noise_size))
            require_tensor(z, "z", shape=(samples, rows, subject.latent_size))
            require_tensor(log_q, "log q(z given x)", shape=(samples, rows))
        require_tensor(q.mean(), "the mean", shape=(rows, subject.latent_size))


def prior_shapes(subject: Subject) -> None:
    """Draw latents of shapes [D], [5, D] and [3, 5, D]."""
    prior: Prior = subject.prior()
    for lead in ((1,), (5,), (3, 5)):
        z = require_tensor(prior.sample(normal(*lead, subject.latent_size)), "z", shape=(*lead, subject.latent_size))
        require_tensor(prior.log_prob(z), "log p(z)", shape=lead)


def posterior_noise(subject: Subject) -> None:
    """Draw twice from the same noise, and from noise that is other in the other examples."""
    posterior, q = _posterior(subject, 7)
    _require_function_of_noise(lambda noise: elbo.draw(q, noise)[0], normal(3, 7, posterior.noise_size))


def prior_noise(subject: Subject) -> None:
    """Draw twice from the same noise, and from noise that is other in the other rows."""
    _require_function_of_noise(subject.prior().sample, normal(3, 7, subject.latent_size))


def _require_function_of_noise(sample: Any, noise: tf.Tensor) -> None:
    first, again = (np.asarray(sample(noise)) for _ in range(2))
    require_close(again, first, "z from the same noise twice", within=0.0)
    changed = tf.concat([noise[:, :1], noise[:, 1:] + 1.0], axis=1)
    other = np.asarray(sample(changed))
    require_close(other[:, :1], first[:, :1], "z of an example whose own noise is the same", within=1e-5)
    require(not np.array_equal(other[:, 1:], first[:, 1:]), "z does not change with the noise")


def posterior_density(subject: Subject) -> None:
    """Weigh 50,000 samples of q by another density over q: the weights' mean is 1, and they give its moments."""
    for row in range(2):
        _posterior_samples_fit(subject, row)


def _posterior_samples_fit(subject: Subject, row: int) -> None:
    z, log_q, q, noise = _draws(subject, row)
    with contextlib.suppress(NotImplementedError):
        anywhere = np.asarray(q.log_prob(elbo.draw(q, noise)[0]))[:, 0]
        tolerance = 1e-3 * (1 + np.abs(log_q))
        require_close(anywhere, log_q, "log_prob of a sample and what sample_and_log_prob gives", within=tolerance)
    _require_density(z, log_q, "q(z given x)")


def _draws(subject: Subject, row: int) -> tuple[np.ndarray, np.ndarray, Distribution, tf.Tensor]:
    """Return many samples for one example, [N, D], their log-density, [N], the distribution, and the noise."""
    posterior, _ = _posterior(subject, 1)
    q = posterior.distribution(normal(2, FEATURES, name="features")[row : row + 1])
    noise = normal(DRAWS, 1, posterior.noise_size, name="draws")
    z, log_q = elbo.draw(q, noise)
    return np.asarray(z, np.float64)[:, 0], np.asarray(log_q, np.float64)[:, 0], q, noise


def prior_density(subject: Subject) -> None:
    """Weigh 50,000 samples of p by another density over p: the weights' mean is 1, and they give its moments."""
    prior = subject.prior()
    z = prior.sample(normal(DRAWS, subject.latent_size, name="draws"))
    _require_density(np.asarray(z, np.float64), np.asarray(prior.log_prob(z), np.float64), "p(z)")


def _require_density(z: np.ndarray, log_density: np.ndarray, what: str) -> None:
    """Check that z [N, D] were drawn from a density, by importance sampling of normal densities in three places.

    One is where the density is highest, the others are about two samples.
    """
    if z.shape[1] > MOST_DIMENSIONS:
        raise LeftOutError(f"50,000 samples say little of a density in {z.shape[1]} dimensions; try --latent-size 2")
    covariance = np.atleast_2d(np.cov(z, rowvar=False)) + 1e-24 * np.eye(z.shape[1])
    white = np.linalg.solve(np.linalg.cholesky(covariance), (z - z.mean(axis=0)).T).T
    for place in (int(np.argmax(log_density)), 0, 1):
        order = np.argsort(np.sum((white - white[place]) ** 2, axis=1))
        _require_density_near(z, log_density, order[: len(z) // NEAR], what)


def _require_density_near(z: np.ndarray, log_density: np.ndarray, near: np.ndarray, what: str) -> None:
    """Compare samples with their density where some of them lie.

    For r normal and w = r(z) / q(z), the mean of w over samples of q is 1, and that of w * (z - m) is 0. r is narrower
    than those samples, so that q has mass wherever r has, however bent q is.
    """
    centre = z[near].mean(axis=0)
    triangle = 0.5 * np.linalg.cholesky(np.atleast_2d(np.cov(z[near], rowvar=False)) + 1e-24 * np.eye(z.shape[1]))
    standard = np.linalg.solve(triangle, (z - centre).T).T
    log_r = -0.5 * np.sum(standard**2 + np.log(2 * np.pi), axis=1) - np.sum(np.log(np.diag(triangle)))
    weights = np.exp(np.clip(log_r - log_density, -700, 50))
    error = weights.std() / np.sqrt(len(z))
    if error > 0.2 * max(weights.mean(), 1e-3):
        raise LeftOutError(f"samples of {what} are spread too far for 50,000 of them to tell")
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


def posterior_mean(subject: Subject) -> None:
    """Compare the mean of 50,000 samples with `mean`."""
    z, _, q, _ = _draws(subject, 0)
    if not getattr(q, "mean_is_exact", True):
        raise LeftOutError("it says that its mean is not exact")
    require_close(np.asarray(q.mean())[0], z.mean(axis=0), "`mean` and the mean of samples", within=_errors_of(z))


def prior_mean(subject: Subject) -> None:
    """Compare the mean of 50,000 samples with `mean`."""
    prior = subject.prior()
    z = np.asarray(prior.sample(normal(DRAWS, subject.latent_size, name="draws")), np.float64)
    mean = require_tensor(prior.mean(), "the mean", shape=(subject.latent_size,))
    require_close(np.asarray(mean), z.mean(axis=0), "`mean` and the mean of samples", within=_errors_of(z))


def _errors_of(z: np.ndarray) -> np.ndarray:
    return ERRORS * z.std(axis=0) / np.sqrt(len(z)) + 1e-6


def divergence(subject: Subject) -> None:
    """Compare the closed form of KL(q, p) with the mean of log q - log p over 50,000 samples of q."""
    prior = subject.prior()
    for row in range(2):
        z, log_q, q, _ = _draws(subject, row)
        closed = elbo.closed_form_kl_terms(q, prior)
        if closed is None:
            raise LeftOutError("there is no closed form, so samples estimate it in training too")
        require_tensor(closed, "terms of KL(q, p)", shape=(1, None))
        log_p = np.asarray(prior.log_prob(tf.constant(z, tf.float32)), np.float64)
        estimates = log_q - log_p
        error = estimates.std() / np.sqrt(len(z))
        got = float(tf.reduce_sum(closed))
        if abs(got - estimates.mean()) > ERRORS * error + 1e-4:
            raise BrokenRuleError(
                f"KL(q, p) in closed form is {got:.4f} nats, but {estimates.mean():.4f} by samples "
                f"(standard error {error:.1g})"
            )


POSTERIOR = (
    Rule("shapes", "z [L, B, D], log q [L, B] and the mean [B, D], float32, for B = 1, 2, 7", posterior_shapes),
    Rule("noise", "z is a function of the noise of its own example", posterior_noise),
    Rule("density", "log q integrates to one and is the density of the samples", posterior_density),
    Rule("mean", "`mean` is the mean of the samples, or says that it is not", posterior_mean),
    Rule("divergence", "the closed form of KL(q, p), if any, is what samples estimate", divergence),
)
PRIOR = (
    Rule("shapes", "z [..., D] and log p(z) [...], float32", prior_shapes),
    Rule("noise", "z is a function of its own noise", prior_noise),
    Rule("density", "log p integrates to one and is the density of the samples", prior_density),
    Rule("mean", "`mean` is the mean of the samples", prior_mean),
    Rule("divergence", "the closed form of KL(q, p), if any, is what samples estimate", divergence),
)
