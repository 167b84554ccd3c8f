"""Every built-in likelihood sums or integrates to one over all x of two or three elements."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from helpers import builders

from vaeflow import components
from vaeflow.components import likelihoods


def levels(count):
    """Return the values of one element, and the weight of each in a sum."""
    return np.arange(count) / (count - 1), np.ones(count)


def counts(most, unit=1.0):
    return np.arange(most) / unit, np.ones(most)


def interval(low, high, panels=40):
    """Return nodes and weights of an integral, by Gauss's rule with 8 nodes in each of the panels."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    edges = np.linspace(low, high, panels + 1)
    half = np.diff(edges)[:, None] / 2.0
    return (edges[:-1, None] + half * (1.0 + nodes)).ravel(), (half * weights).ravel()


WIDE, PAIR = interval(-40.0, 40.0, panels=80), (2,)
CASES = {
    "bernoulli": [({}, levels(2), PAIR), ({}, levels(2), (1, 3, 1))],
    "continuous-bernoulli": [({}, interval(0.0, 1.0), PAIR)],
    "categorical": [({"levels": 5}, levels(5), PAIR), ({"levels": 5}, levels(5), (1, 1, 3)), ({}, levels(256), PAIR)],
    "discretized-logistic-mixture": [
        ({"levels": 6, "mixtures": 3}, levels(6), PAIR),
        ({"levels": 6, "mixtures": 3}, levels(6), (1, 1, 3)),
        ({"levels": 6, "mixtures": 2}, levels(6), (1, 2, 1)),
        ({}, levels(256), PAIR),
    ],
    "poisson": [({}, counts(60), PAIR), ({"counts_per_unit": 10.0}, counts(60, 10.0), PAIR)],
    "gaussian": [({"variance": v, "scale": 1.5}, WIDE, PAIR) for v in ("fixed", "shared", "decoded")],
    "laplace": [({"variance": v, "scale": 1.5}, WIDE, PAIR) for v in ("fixed", "shared", "decoded")],
}


def test_every_builtin_likelihood_has_a_case():
    names = [one.name for one in components.vaeflow_components() if one.kind == "likelihood"]
    assert sorted(names) == sorted(CASES)


@pytest.mark.parametrize(
    ("name", "options", "values", "x_shape"),
    [(name, *case) for name, cases in CASES.items() for case in cases],
    ids=[f"{name} {options} {x_shape}" for name, cases in CASES.items() for options, _, x_shape in cases],
)
def test_it_sums_or_integrates_to_one(name, options, values, x_shape):
    likelihood = getattr(likelihoods, name.replace("-", "_"))(x_shape, **options)
    elements, shape = int(np.prod(x_shape)), likelihood.parameters_shape
    parameters = 0.5 * tf.reshape(builders.normal_noise(1, int(np.prod(shape)), name=name), shape)
    every, weights = (np.stack(np.meshgrid(*[one] * elements), axis=-1).reshape(-1, elements) for one in values)
    x = tf.reshape(tf.constant(every, tf.float32), (-1, *x_shape))
    log_p = likelihood.distribution(tf.broadcast_to(parameters, (len(every), *shape))).log_prob(x)
    total = np.sum(np.exp(np.asarray(log_p, np.float64)) * weights.prod(axis=1))
    assert total == pytest.approx(1.0, abs=1e-3 if name == "laplace" else 1e-4)  # the panel with its peak is not exact
