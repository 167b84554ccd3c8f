"""Whether q(z given x) is the posterior of the model's own data: simulation-based calibration (Talts et al. 2018).

With z from p(z), x from p(x given z), and L draws from q(z given x), the number of draws below z is uniform over 0 to L
in each dimension if q is the true posterior. Ranks that pile up at both ends say that q is too narrow, ranks in the
middle that it is too wide, and ranks at one end that it is biased.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.components.one_group import OneGroup
from vaeflow.contracts import Findings, Histogram
from vaeflow.model.elbo import draw

if TYPE_CHECKING:
    from vaeflow.contracts import WholeSplit

BINS = 20
DRAWN = 12
CRITICAL = 1.358  # a Kolmogorov-Smirnov distance times the root of n is larger in 5% of cases


class Calibration:
    """The largest Kolmogorov-Smirnov distance of a dimension's ranks from uniform ones, from 0 to 1.

    Args:
        simulations: n, examples drawn from the model.
        draws: L, from each posterior.
    """

    whole_split = True

    def __init__(self, simulations: int, draws: int) -> None:
        self._simulations, self._draws = simulations, draws

    def __call__(self, split: WholeSplit) -> Findings:
        """Return the distances, histograms of ranks, and the distance that 5% of perfect posteriors exceed."""
        found = ranks(split, self._simulations, self._draws)
        distances = np.array([distance(of_one, self._draws) for of_one in found.T])
        bins = min(BINS, self._draws + 1)
        counts = np.stack([_binned(of_one, self._draws, bins) for of_one in found.T])
        expected = _binned(np.arange(self._draws + 1), self._draws, bins) / (self._draws + 1)
        return Findings(
            {
                "": float(distances.max()),
                "mean": float(distances.mean()),
                "critical": CRITICAL / math.sqrt(self._simulations),
            },
            {"distance": distances, "ranks": counts},
            {"simulations": self._simulations, "draws": self._draws},
            tuple(_histograms(counts / self._simulations, distances, expected)),
        )


def ranks(split: WholeSplit, simulations: int, draws: int) -> np.ndarray:
    """Return the rank of z among L draws of q(z given x) by dimension, [n, D], whole numbers from 0 to L.

    Args:
        split: with the model; a conditional model gets the labels of the examples.
        simulations: n.
        draws: L.

    Raises:
        UsageError: if the model has several groups of latents, or codes.
    """
    group = OneGroup.of(split, "calibration")
    model, rows = split.model, split.rows

    def of_rows(first: tf.Tensor) -> tf.Tensor:
        batch = split.batch(first)
        still = tf.zeros((1, rows, group.noise_size))
        prior = split.terms_of(batch, still).p[group.name]
        z = prior.sample(split.normal("calibration/z", first, group.prior_noise_size)[None])
        uniform = split.uniform("calibration/x", first, math.prod(model.x_shape))
        p_x = model.decode({group.name: z[0]}, labels=batch.labels)
        x = p_x.sample(tf.reshape(uniform, (rows, *model.x_shape)))
        q = split.terms_of(batch._replace(x=x), still).q[group.name]
        noise = split.normal("calibration/draws", first, draws * group.noise_size)
        noise = tf.transpose(tf.reshape(noise, (rows, draws, group.noise_size)), (1, 0, 2))
        below = tf.cast(draw(q, noise)[0] < z, tf.float32)
        return tf.reshape(tf.reduce_sum(below, axis=0), (rows, group.size))

    return split.table(f"calibration/{draws}", of_rows, group.size, simulations)


def distance(of_one: np.ndarray, draws: int) -> float:
    """Return the Kolmogorov-Smirnov distance of ranks from uniform ones over 0 to L.

    >>> distance(np.array([0, 1, 2, 3]), 3), distance(np.array([3, 3]), 3)
    (0.0, 0.75)
    """
    counts = np.bincount(np.asarray(of_one, np.int64), minlength=draws + 1)
    below = np.cumsum(counts) / len(of_one)
    return float(np.abs(below - np.arange(1, draws + 2) / (draws + 1)).max())


def _binned(of_one: np.ndarray, draws: int, bins: int) -> np.ndarray:
    """Return how many ranks are in each of the bins, [bins]."""
    return np.bincount(np.asarray(of_one, np.int64) * bins // (draws + 1), minlength=bins).astype(np.float64)


def _histograms(shares: np.ndarray, distances: np.ndarray, expected: np.ndarray) -> list[Histogram]:
    """Return histograms of the dimensions that are farthest from uniform."""
    bins = len(expected)
    edges = np.linspace(0.0, 1.0, bins + 1)
    order = sorted(np.argsort(-distances, kind="stable")[:DRAWN].tolist())
    return [
        Histogram(
            f"dimension {one}, distance {distances[one]:.3f}", edges, shares[one] * bins, expected * bins, "rank / L"
        )
        for one in order
    ]
