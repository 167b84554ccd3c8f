"""Rules for likelihoods: parameters to log p(x given z) and samples of x."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.checks.rule import BrokenRuleError, Rule, require, require_close, require_tensor
from vaeflow.checks.subject import normal, uniform

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.checks.subject import Subject
    from vaeflow.contracts import Distribution, Likelihood

SAMPLES, ROWS, DRAWS, MOST_OUTCOMES = 3, 5, 20_000, 300
ERRORS = 5.0
ONE = (1, 1, 1)
"""An example of one element, whose density can be integrated."""


def _distribution(likelihood: Likelihood, *lead: int) -> Distribution:
    """Return p(x given z) for parameters that are normal numbers, the same for all of the last axis of `lead`."""
    width = int(np.prod(likelihood.parameters_shape))
    parameters = tf.reshape(normal(int(np.prod(lead)), width, name="parameters"), (*lead, *likelihood.parameters_shape))
    return likelihood.distribution(parameters)


def shapes(subject: Subject) -> None:
    """Take log p of binary x and draw samples, for L = 3 and B = 1, 2, 7."""
    likelihood: Likelihood = subject.build(subject.x_shape)
    for rows in (1, 2, 7):
        p = _distribution(likelihood, SAMPLES, rows)
        x = tf.cast(
            tf.reshape(uniform(rows, int(np.prod(subject.x_shape))), (rows, *subject.x_shape)) > 0.5, tf.float32
        )
        require_tensor(p.log_prob(x), "log p(x given z)", shape=(SAMPLES, rows))
        require_tensor(p.mean(), "the mean", shape=(SAMPLES, rows, *subject.x_shape))


def noise(subject: Subject) -> None:
    """Draw x twice from the same noise, and from other noise."""
    p = _distribution(subject.build(subject.x_shape), SAMPLES, ROWS)
    flat = uniform(SAMPLES * ROWS, int(np.prod(subject.x_shape)))
    drawn = tf.reshape(flat, (SAMPLES, ROWS, *subject.x_shape))
    first, again = (require_tensor(p.sample(drawn), "x", shape=tuple(drawn.shape)) for _ in range(2))
    require_close(again, first, "x from the same noise twice", within=0.0)
    require(np.any(np.asarray(p.sample(1.0 - drawn)) != np.asarray(first)), "x does not change with the noise")


def density(subject: Subject) -> None:
    """Draw 20,000 x of one element and compare how often they come with their density."""
    likelihood: Likelihood = subject.build(ONE)
    for number in range(2):
        width = int(np.prod(likelihood.parameters_shape))
        parameters = tf.reshape(normal(2, width, name="parameters")[number], likelihood.parameters_shape)

        def repeated(count: int, parameters: tf.Tensor = parameters) -> Distribution:
            return likelihood.distribution(tf.repeat(parameters[None], count, axis=0))

        many = repeated(DRAWS)
        x = np.sort(np.asarray(many.sample(tf.reshape(uniform(DRAWS, 1, name="draws"), (DRAWS, *ONE)))).ravel())
        outcomes = np.unique(x)
        if len(outcomes) <= MOST_OUTCOMES:
            _require_frequencies(repeated, x, outcomes)
        else:
            _require_integral(repeated, x)
        error = ERRORS * x.std() / np.sqrt(DRAWS) + 1e-6
        require_close(np.asarray(many.mean()).ravel()[0], x.mean(), "`mean` and the mean of samples", within=error)


def _probabilities(repeated: Callable[[int], Distribution], x: np.ndarray) -> np.ndarray:
    """Return exp(log p) of each x [N] under one row of parameters."""
    log_p = repeated(len(x)).log_prob(tf.reshape(tf.constant(x, tf.float32), (-1, *ONE)))
    return np.exp(np.asarray(log_p, np.float64))


def _require_frequencies(repeated: Callable[[int], Distribution], x: np.ndarray, outcomes: np.ndarray) -> None:
    masses = _probabilities(repeated, outcomes)
    total = masses.sum()
    if not 0.98 < total < 1.0 + 1e-3:
        raise BrokenRuleError(f"p(x given z) of the {len(outcomes)} outcomes seen adds up to {total:.4f}, not to 1")
    shares = np.array([np.mean(x == outcome) for outcome in outcomes])
    errors = ERRORS * np.sqrt(np.maximum(masses * (1 - masses), 0) / DRAWS) + 2 / DRAWS
    require_close(masses, shares, "p(x given z) of an outcome and how often it comes", within=errors)


def _require_integral(repeated: Callable[[int], Distribution], x: np.ndarray) -> None:
    """Compare the integral of the density between quantiles of samples with the share between them."""
    for low, high in ((0.02, 0.5), (0.5, 0.98)):
        grid = np.linspace(np.quantile(x, low), np.quantile(x, high), 401)
        heights = _probabilities(repeated, grid)
        total = float(np.sum((heights[1:] + heights[:-1]) / 2 * np.diff(grid)))
        error = ERRORS * np.sqrt(0.25 / DRAWS) * np.sqrt(2.0)
        if abs(total - (high - low)) > error:
            raise BrokenRuleError(
                f"p(x given z) from x = {grid[0]:.4g} to {grid[-1]:.4g} integrates to {total:.4f}, but "
                f"{high - low:.2f} of 20,000 samples lie there"
            )


LIKELIHOOD = (
    Rule("shapes", "log p(x given z) [L, B] and the mean [L, B, *X], float32, for B = 1, 2, 7", shapes),
    Rule("noise", "x is a function of the noise", noise),
    Rule("density", "log p(x given z) adds up, or integrates, to one and is that of the samples", density),
)
