"""Rules for posteriors and priors: samples are functions of noise, densities are those of the samples."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vaeflow.engine.precision import built_in
from vaeflow.errors import UsageError
from vaeflow.model import elbo
from vaeflow.plugin_kit.checks.densities import ERRORS, is_of_noise, require_density
from vaeflow.plugin_kit.checks.require import BrokenRuleError, SkippedRuleError, require, require_close, require_tensor
from vaeflow.plugin_kit.checks.rule import Rule
from vaeflow.plugin_kit.checks.subject import CLASSES, ROWS, beside, normal, require_same_rows, shake

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.contracts import Distribution, Posterior, Prior
    from vaeflow.plugin_kit.checks.subject import Subject

FEATURES, DRAWS, FEW_DRAWS = 8, 50_000, 2_000
DIMENSIONS = (2, 1, 3)


def _features(rows: int) -> tf.Tensor:
    """Return small features [B, F]: if scales are exponentials of features, large ones overflow."""
    return 0.3 * normal(rows, FEATURES, name="features")


def _posterior(subject: Subject, rows: int) -> tuple[Posterior, Distribution]:
    """Return a posterior with shaken weights, and q(z given x) for some rows of features."""
    with built_in("float32"):
        posterior = subject.posterior()
        features = _features(rows)
        posterior.distribution(features)  # creates its variables
    shake(posterior)
    return posterior, posterior.distribution(features)


def _prior(subject: Subject) -> Prior:
    """Return a prior with shaken weights; if it needs labels, that of the second one."""
    label = tf.one_hot(1, CLASSES)
    with built_in("float32"):
        prior: Any = subject.prior()
        given = prior.given(label) if subject.needs_labels else prior
        given.log_prob(normal(1, subject.latent_size))  # creates its variables
    shake(prior)
    return prior.given(label) if subject.needs_labels else prior


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
    prior = _prior(subject)
    for lead in ((1,), (5,), (3, 5)):
        z = require_tensor(prior.sample(normal(*lead, subject.latent_size)), "z", shape=(*lead, subject.latent_size))
        require_tensor(prior.log_prob(z), "log p(z)", shape=lead)


def posterior_noise(subject: Subject) -> None:
    """Draw twice from the same noise, and from noise that differs in the other examples."""
    posterior, q = _posterior(subject, 7)
    _require_function_of_noise(lambda noise: elbo.draw(q, noise)[0], normal(3, 7, posterior.noise_size))


def prior_noise(subject: Subject) -> None:
    """Draw twice from the same noise, and from noise that differs in the other rows."""
    _require_function_of_noise(_prior(subject).sample, normal(3, 7, subject.latent_size))


def _require_function_of_noise(sample: Any, noise: tf.Tensor) -> None:
    first, again = (np.asarray(sample(noise)) for _ in range(2))
    require_close(again, first, "z from the same noise twice", within=0.0)
    changed = tf.concat([noise[:, :1], noise[:, 1:] + 1.0], axis=1)
    other = np.asarray(sample(changed))
    require_close(other[:, :1], first[:, :1], "z of an example whose own noise is the same", within=1e-5)
    require(not np.array_equal(other[:, 1:], first[:, 1:]), "z does not change with the noise")


def reparameterized(subject: Subject) -> None:
    """Differentiate z with respect to the features: the ELBO's gradient goes through the samples."""
    posterior, _ = _posterior(subject, ROWS)
    features = _features(ROWS)
    noise = normal(1, ROWS, posterior.noise_size)
    for dimension in range(subject.latent_size):
        with tf.GradientTape() as tape:
            tape.watch(features)
            z = elbo.draw(posterior.distribution(features), noise)[0][..., dimension]
        gradient = tape.gradient(z, features)
        name = f"the gradient of z[..., {dimension}] with respect to the features"
        require(gradient is not None, f"there is no gradient of z[..., {dimension}] with respect to the features")
        gradient = require_tensor(tf.convert_to_tensor(gradient), name, shape=(ROWS, FEATURES))  # may be sparse
        require(bool(tf.reduce_any(gradient != 0.0)), f"{name} is zero")


def posterior_density(subject: Subject) -> None:
    """Test the density of q by importance sampling of another density with 50,000 samples of q."""
    _in_few_dimensions(subject, _posterior_samples_fit)


def _in_few_dimensions(subject: Subject, test: Callable[[Subject], None]) -> None:
    """Test a density in 1, 2 and 3 dimensions: a wrong constant may be right in one of them.

    Raises:
        SkippedRuleError: if it can't be tested in any of them.
    """
    why: list[str] = []
    for size in DIMENSIONS:
        try:
            test(replace(subject, latent_size=size))
        except (SkippedRuleError, UsageError) as error:  # some components need more dimensions
            why.append(str(error))
        except BrokenRuleError as broken:
            raise BrokenRuleError(f"with D = {size}: {broken}") from broken
    if len(why) == len(DIMENSIONS):
        raise SkippedRuleError(why[0])


def _posterior_samples_fit(subject: Subject) -> None:
    for row in range(2):
        z, log_q, q, noise = _draws(subject, row)
        with contextlib.suppress(NotImplementedError):
            anywhere = np.asarray(q.log_prob(elbo.draw(q, noise)[0]))[:, 0]
            tolerance = 1e-3 * (1 + np.abs(log_q))
            require_close(anywhere, log_q, "log_prob of a sample and what sample_and_log_prob gives", within=tolerance)
        of_noise = is_of_noise(partial(elbo.draw, q), noise[:FEW_DRAWS])
        require_density(z, log_q, "q(z given x)", of_noise=of_noise)


def _draws(subject: Subject, row: int) -> tuple[np.ndarray, np.ndarray, Distribution, tf.Tensor]:
    """Return many samples for one example, [N, D], their log-density, [N], the distribution, and the noise."""
    posterior, _ = _posterior(subject, 1)
    return _draws_of(posterior, _features(2)[row : row + 1])


def _draws_of(posterior: Posterior, features: tf.Tensor) -> tuple[np.ndarray, np.ndarray, Distribution, tf.Tensor]:
    q = posterior.distribution(features)
    noise = normal(DRAWS, 1, posterior.noise_size, name="draws")
    z, log_q = elbo.draw(q, noise)
    return np.asarray(z, np.float64)[:, 0], np.asarray(log_q, np.float64)[:, 0], q, noise


def prior_density(subject: Subject) -> None:
    """Test the density of p by importance sampling of another density with 50,000 samples of p."""
    _in_few_dimensions(subject, _prior_samples_fit)


def _prior_samples_fit(subject: Subject) -> None:
    prior = _prior(subject)

    def draw(noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        z = prior.sample(noise)
        return z, prior.log_prob(z)

    noise = normal(DRAWS, subject.latent_size, name="draws")
    z, log_p = (np.asarray(one, np.float64) for one in draw(noise))
    require_density(z, log_p, "p(z)", of_noise=is_of_noise(draw, noise[:FEW_DRAWS]))


def posterior_mean(subject: Subject) -> None:
    """Compare the mean of 50,000 samples with `mean`."""
    z, _, q, _ = _draws(subject, 0)
    if not getattr(q, "mean_is_exact", True):
        raise SkippedRuleError("it declares that its mean is not exact")
    require_close(np.asarray(q.mean())[0], z.mean(axis=0), "`mean` and the mean of samples", within=_errors_of(z))


def prior_mean(subject: Subject) -> None:
    """Compare the mean of 50,000 samples with `mean`."""
    prior = _prior(subject)
    z = np.asarray(prior.sample(normal(DRAWS, subject.latent_size, name="draws")), np.float64)
    mean = require_tensor(prior.mean(), "the mean", shape=(subject.latent_size,))
    require_close(np.asarray(mean), z.mean(axis=0), "`mean` and the mean of samples", within=_errors_of(z))


def _errors_of(z: np.ndarray) -> np.ndarray:
    return ERRORS * z.std(axis=0) / np.sqrt(len(z)) + 1e-6


def divergence(subject: Subject) -> None:
    """Compare the closed forms of KL(q, p) for 7 examples with the mean of log q - log p over 50,000 samples of q."""
    prior = _prior(subject)
    posterior, q = _posterior(subject, ROWS)
    closed = _closed_forms(q, prior)
    if not closed:
        raise SkippedRuleError("there is no closed form, so samples estimate it in training too")
    features = _features(ROWS)
    for row in range(2):
        z, log_q, _, _ = _draws_of(posterior, features[row : row + 1])
        log_p = np.asarray(prior.log_prob(tf.constant(z, tf.float32)), np.float64)
        estimates = log_q - log_p
        error = estimates.std() / np.sqrt(len(z))
        for whose, terms in closed.items():
            require_tensor(terms, f"terms of KL(q, p) by the {whose}", shape=(ROWS, None))
            got = float(tf.reduce_sum(terms[row]))
            if not abs(got - estimates.mean()) <= ERRORS * error + 1e-4:
                raise BrokenRuleError(
                    f"KL(q, p) in closed form, by the {whose}, is {got:.4f} nats, but {estimates.mean():.4f} by "
                    f"samples (standard error {error:.1g})"
                )


def _closed_forms(q: Distribution, p: Prior) -> dict[str, tf.Tensor]:
    """Return the closed forms [B, K] that exist, by `posterior` and `prior`."""
    of_posterior = getattr(q, "kl_terms", None)
    found = {"posterior": None if of_posterior is None else of_posterior(p), "prior": p.kl_terms(q)}
    return {whose: terms for whose, terms in found.items() if terms is not None}


def posterior_rows(subject: Subject) -> None:
    """Change the features and the noise of the last of 7 examples; the others must stay the same."""
    posterior, q, other = _posteriors(subject)
    noise = normal(3, ROWS, posterior.noise_size)
    z, log_q = elbo.draw(q, noise)
    other_z, other_log_q = elbo.draw(other, beside(noise, noise + 1.0, axis=1))
    require_same_rows(other_z, z, "z of examples beside other ones", axis=1)
    require_same_rows(other_log_q, log_q, "log q(z given x) of examples beside other ones", axis=1)
    require_same_rows(other.mean(), q.mean(), "the mean of examples beside other ones")
    prior = _prior(subject)
    theirs = _closed_forms(other, prior)
    for whose, terms in _closed_forms(q, prior).items():
        require_same_rows(theirs[whose], terms, f"terms of KL(q, p) by the {whose} of examples beside other ones")


def prior_rows(subject: Subject) -> None:
    """Change the latents and the posterior's features of the last of 7 examples; the others must stay the same."""
    prior = _prior(subject)
    noise = normal(3, ROWS, subject.latent_size)
    others = beside(noise, noise + 1.0, axis=1)
    require_same_rows(prior.sample(others), prior.sample(noise), "z of examples beside other ones", axis=1)
    require_same_rows(prior.log_prob(others), prior.log_prob(noise), "log p(z) of examples beside other ones", axis=1)
    _, q, other = _posteriors(subject)
    terms, theirs = prior.kl_terms(q), prior.kl_terms(other)
    if terms is not None:
        require_same_rows(theirs, terms, "terms of KL(q, p) of examples beside other ones")


def _posteriors(subject: Subject) -> tuple[Posterior, Distribution, Distribution]:
    """Return a posterior, q for 7 rows of features, and q with the last 3 of them replaced."""
    posterior, q = _posterior(subject, ROWS)
    features = _features(ROWS)
    return posterior, q, posterior.distribution(beside(features, tf.zeros_like(features)))


POSTERIOR = (
    Rule("shapes", "z [L, B, D], log q [L, B] and the mean [B, D], float32, for B = 1, 2, 7", posterior_shapes),
    Rule("noise", "z is a function of the noise of its own example", posterior_noise),
    Rule("rows", "z, log q, the mean and KL(q, p) of an example do not depend on the others", posterior_rows),
    Rule("reparameterized", "z has a gradient with respect to the features", reparameterized),
    Rule("density", "log q integrates to one and is that of the samples, for D = 1, 2, 3", posterior_density),
    Rule("mean", "`mean` is the mean of the samples, or is declared to be inexact", posterior_mean),
    Rule("divergence", "each closed form of KL(q, p), if any, is what samples estimate", divergence),
)
PRIOR = (
    Rule("shapes", "z [..., D] and log p(z) [...], float32", prior_shapes),
    Rule("noise", "z is a function of its own noise", prior_noise),
    Rule("rows", "z, log p(z) and KL(q, p) of an example do not depend on the others", prior_rows),
    Rule("density", "log p integrates to one and is that of the samples, for D = 1, 2, 3", prior_density),
    Rule("mean", "`mean` is the mean of the samples", prior_mean),
    Rule("divergence", "each closed form of KL(q, p), if any, is what samples estimate", divergence),
)
