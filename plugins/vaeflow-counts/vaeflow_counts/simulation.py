"""Counts with known parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vaeflow.contracts import Dataset, Split


@dataclass(frozen=True)
class Simulation:
    """Counts, and what they were drawn from.

    Attributes:
        counts: [N, G] float32.
        group: [N] the group of each example.
        batch: [N] the batch of each example.
        means: [N, G] expected counts.
        dispersion: [G] theta.
    """

    counts: np.ndarray
    group: np.ndarray
    batch: np.ndarray
    means: np.ndarray
    dispersion: np.ndarray

    @property
    def train(self) -> int:
        """Examples of the training split, the first ones."""
        return len(self.counts) - max(1, len(self.counts) // 5)

    def dataset(self) -> Dataset:
        """Return the counts with the batches as labels."""
        train, test = (
            Split(self.counts[part], self.batch[part]) for part in (slice(0, self.train), slice(self.train, None))
        )
        return Dataset("simulated-counts", train, None, test, "simulated negative binomial counts")


def simulate(
    examples: int, features: int, groups: int, batches: int, *, total: float, dispersion: float, seed: int
) -> Simulation:
    """Draw shares of features by group and batch, totals, dispersions, and counts.

    Args:
        examples: N.
        features: G.
        groups: number of profiles.
        batches: number of batches.
        total: median of the expected totals.
        dispersion: median of theta.
        seed: of all numbers.
    """
    rng = np.random.default_rng(seed)
    profile = rng.normal(size=(groups, features)) + rng.normal(size=features)
    shift = 0.3 * rng.normal(size=(batches, features))
    group, batch = rng.integers(0, groups, examples), rng.integers(0, batches, examples)
    score = profile[group] + shift[batch]
    share = np.exp(score - score.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    totals = total * np.exp(0.5 * rng.normal(size=(examples, 1)))
    theta = dispersion * np.exp(0.5 * rng.normal(size=features))
    means = totals * share
    counts = rng.poisson(rng.gamma(theta, means / theta)).astype(np.float32)
    return Simulation(counts, group, batch.astype(np.int64), means, theta)
