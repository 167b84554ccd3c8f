"""Rules for likelihoods: parameters to log p(x given z) and samples of x."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.errors import UsageError
from vaeflow.plugin_kit.checks.densities import ERRORS, require_density
from vaeflow.plugin_kit.checks.require import BrokenRuleError, SkippedRuleError, require, require_close, require_tensor
from vaeflow.plugin_kit.checks.rule import Rule
from vaeflow.plugin_kit.checks.subject import ROWS, beside, normal, require_same_rows, shake, uniform

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.contracts import Distribution, Likelihood
    from vaeflow.plugin_kit.checks.subject import Subject

SAMPLES, DRAWS, MOST_OUTCOMES = 3, 20_000, 300


def _likelihood(subject: Subject, x_shape: tuple[int, ...]) -> Likelihood:
    """Return a likelihood with shaken weights."""
    likelihood: Likelihood = subject.build(x_shape)
    _distribution(likelihood, 1)  # creates its variables
    shake(likelihood)
    return likelihood


def _distribution(likelihood: Likelihood, *lead: int) -> Distribution:
    """Return p(x given z) for normally distributed parameters, different in each row."""
    return likelihood.distribution(_parameters(likelihood, *lead))


def _parameters(likelihood: Likelihood, *lead: int) -> tf.Tensor:
    width = int(np.prod(likelihood.parameters_shape))
    return tf.reshape(normal(int(np.prod(lead)), width, name="parameters"), (*lead, *likelihood.parameters_shape))


def _binary(subject: Subject, rows: int) -> tf.Tensor:
    flat = uniform(rows, int(np.prod(subject.x_shape)))
    return tf.cast(tf.reshape(flat, (rows, *subject.x_shape)) > 0.5, tf.float32)


def shapes(subject: Subject) -> None:
    """Take log p of binary x and draw samples, for L = 3 and B = 1, 2, 7."""
    likelihood = _likelihood(subject, subject.x_shape)
    for rows in (1, 2, 7):
        p = _distribution(likelihood, SAMPLES, rows)
        require_tensor(p.log_prob(_binary(subject, rows)), "log p(x given z)", shape=(SAMPLES, rows))
        require_tensor(p.mean(), "the mean", shape=(SAMPLES, rows, *subject.x_shape))


def _noise(subject: Subject) -> tf.Tensor:
    return tf.reshape(uniform(SAMPLES * ROWS, int(np.prod(subject.x_shape))), (SAMPLES, ROWS, *subject.x_shape))


def rows(subject: Subject) -> None:
    """Change the parameters, x and noise of the last of 7 examples; the others must stay the same."""
    likelihood = _likelihood(subject, subject.x_shape)
    parameters, x, drawn = _parameters(likelihood, SAMPLES, ROWS), _binary(subject, ROWS), _noise(subject)
    p = likelihood.distribution(parameters)
    other = likelihood.distribution(beside(parameters, tf.zeros_like(parameters), axis=1))
    for what, ours, theirs in (
        ("log p(x given z)", p.log_prob(x), other.log_prob(beside(x, 1.0 - x))),
        ("x", p.sample(drawn), other.sample(beside(drawn, 1.0 - drawn, axis=1))),
        ("the mean", p.mean(), other.mean()),
    ):
        require_same_rows(theirs, ours, f"{what} of examples beside other ones", axis=1)


def noise(subject: Subject) -> None:
    """Draw x twice from the same noise, and from other noise."""
    p, drawn = _distribution(_likelihood(subject, subject.x_shape), SAMPLES, ROWS), _noise(subject)
    first, again = (require_tensor(p.sample(drawn), "x", shape=tuple(drawn.shape)) for _ in range(2))
    require_close(again, first, "x from the same noise twice", within=0.0)
    require(np.any(np.asarray(p.sample(1.0 - drawn)) != np.asarray(first)), "x does not change with the noise")


def density(subject: Subject) -> None:
    """Draw 20,000 x of one element, and of two along each axis; compare their frequencies with the density."""
    axes = len(subject.x_shape)
    single = (1,) * axes
    for shape in (single, *((*single[:axis], 2, *single[axis + 1 :]) for axis in range(axes))):
        try:
            likelihood = _likelihood(subject, shape)
        except UsageError as error:
            raise SkippedRuleError(f"it does not support x of shape {shape}, which the rule needs: {error}") from error
        for row in range(2):
            _require_fitting_samples(likelihood, shape, row)


def _require_fitting_samples(likelihood: Likelihood, shape: tuple[int, ...], row: int) -> None:
    """Compare the density of one or two elements with samples, for one row of parameters."""
    parameters = _parameters(likelihood, 2)[row]

    def repeated(count: int) -> Distribution:
        return likelihood.distribution(tf.repeat(parameters[None], count, axis=0))

    def probabilities(x: np.ndarray) -> np.ndarray:
        """Return exp(log p) of each x [N, elements]."""
        log_p = repeated(len(x)).log_prob(tf.reshape(tf.constant(x, tf.float32), (-1, *shape)))
        return np.exp(np.asarray(log_p, np.float64))

    size = int(np.prod(shape))
    many = repeated(DRAWS)
    drawn = tf.reshape(uniform(DRAWS, size, name="draws"), (DRAWS, *shape))
    x = np.asarray(many.sample(drawn), np.float64).reshape((DRAWS, size))
    outcomes = [np.unique(column) for column in x.T]
    if max(map(len, outcomes)) > MOST_OUTCOMES:
        _require_integral(probabilities, x)
    elif size == 1:
        _require_frequencies(probabilities, x, outcomes[0])
    else:
        seen = np.unique(x, axis=0)  # all of a few pairs: others may have no density
        every = np.stack(np.meshgrid(*outcomes), axis=-1).reshape((-1, size))
        _require_sum(probabilities, x, seen if len(seen) <= MOST_OUTCOMES else every)
    if getattr(many, "mean_is_exact", True):
        mean = np.asarray(many.mean()).reshape((DRAWS, size))[0]
        error = ERRORS * x.std(axis=0) / np.sqrt(DRAWS) + 1e-6
        require_close(mean, x.mean(axis=0), "`mean` and the mean of samples", within=error)


def _require_frequencies(probabilities: Callable[[np.ndarray], np.ndarray], x: np.ndarray, seen: np.ndarray) -> None:
    masses = probabilities(seen[:, None])
    total = masses.sum()
    if not 0.98 < total < 1.0 + 1e-3:
        raise BrokenRuleError(f"p(x given z) of the {len(seen)} outcomes seen adds up to {total:.4f}, not to 1")
    shares = np.array([np.mean(x == outcome) for outcome in seen])
    errors = ERRORS * np.sqrt(np.maximum(masses * (1 - masses), 0) / DRAWS) + 2 / DRAWS
    require_close(masses, shares, "p(x given z) of an outcome and its frequency", within=errors)


def _require_sum(probabilities: Callable[[np.ndarray], np.ndarray], x: np.ndarray, pairs: np.ndarray) -> None:
    """Add up p over pairs, and compare the mean of log p over samples of them with that by p."""
    masses = probabilities(pairs)
    total = masses.sum()
    if not 0.98**2 < total < 1.0 + 1e-3:
        raise BrokenRuleError(f"p(x given z) of {len(pairs)} pairs of elements adds up to {total:.4f}, not to 1")
    by_p = np.sum(masses * np.log(np.maximum(masses, 1e-300))) / total
    of_samples = np.log(np.maximum(probabilities(x), 1e-300))
    error = ERRORS * of_samples.std() / np.sqrt(DRAWS) + 1e-3 + 10 * abs(1 - total)
    require_close(of_samples.mean(), by_p, "the mean of log p(x given z) over samples and by p", within=error)


def _require_integral(probabilities: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> None:
    """Compare the integral of the density of one element between quantiles of samples with the share between them."""
    if x.shape[1] > 1:
        require_density(x, np.log(np.maximum(probabilities(x), 1e-300)), "p(x given z) of two elements")
        return
    for low, high in ((0.02, 0.5), (0.5, 0.98)):
        grid = np.linspace(np.quantile(x, low), np.quantile(x, high), 401)
        heights = probabilities(grid[:, None])
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
    Rule("rows", "log p, x and the mean of an example do not depend on the examples beside it", rows),
    Rule("density", "log p(x given z) adds up, or integrates, to one and is that of the samples", density),
)
