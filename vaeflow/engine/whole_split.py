"""A split and a trained model for metrics that look at all examples at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import keras
import numpy as np

from vaeflow.data.noise import Noise
from vaeflow.engine.forward import forward
from vaeflow.engine.table import Table
from vaeflow.model.latents import noise_size
from vaeflow.model.modes import in_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import tensorflow as tf

    from vaeflow.contracts import Dataset, Features, LatentVariableModel, Metric, SplitMetric, Terms
    from vaeflow.data.batches import Batch, Batches
    from vaeflow.distributed.strategies.base import Strategy
    from vaeflow.model.moving_average import MovingAverage


LARGEST = 2**24  # numbers of B x B x D, 64 MiB
MOST_ROWS = 500


def rows_of(model: LatentVariableModel, wanted: int) -> int:
    """Return B, at most what is wanted: an array of each pair of B examples and each latent has at most 64 MiB."""
    latents = max(1, sum(math.prod(group.shape) for group in model.latents))
    return max(1, min(wanted, MOST_ROWS, math.isqrt(LARGEST // latents)))


def by_kind(
    metrics: Mapping[str, Metric | SplitMetric],
) -> tuple[dict[str, Metric], dict[str, SplitMetric]]:
    """Return the metrics that have a value per example, and those of a whole split, by name."""
    whole = {name: one for name, one in metrics.items() if getattr(one, "whole_split", False)}
    per_example = {name: one for name, one in metrics.items() if name not in whole}
    return cast("dict[str, Metric]", per_example), cast("dict[str, SplitMetric]", whole)


@dataclass(frozen=True)
class ModelOfSplit:
    """The `vaeflow.contracts.WholeSplit` of an evaluation; it has the meaning of the members that are not here.

    Attributes:
        strategy: runs the replicas.
        model: any model.
        batches: of the split.
        average: moving averages of the weights.
        dataset: of the run.
        rows: B, see `rows_of`.
        samples: L.
        seed: of the noise.
        features: those that the user named.
        tables: those that were computed, so that the next evaluation traces none again.
    """

    strategy: Strategy
    model: LatentVariableModel
    batches: Batches
    average: MovingAverage
    dataset: Dataset
    rows: int
    samples: int
    seed: int
    features: Features | None = None
    tables: dict[tuple[str, int, int], Table] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """The split's name."""
        return self.batches.split

    @property
    def examples(self) -> int:
        """N."""
        return self.batches.examples

    def batch(self, first: tf.Tensor) -> Batch:
        """Return examples [first, first + B)."""
        return self.batches.in_order(first, self.rows)

    def terms(self, first: tf.Tensor, samples: int | None = None) -> Terms:
        """Return the terms of `batch(first)`, with the noise of evaluations."""
        stream, width = Noise(self.seed, f"evaluation/{self.split}"), noise_size(self.model.latents)
        noise = stream.samples(np.int64(0), first, self.rows, samples=samples or self.samples, width=width)
        return self.terms_of(self.batch(first), noise)

    def terms_of(self, batch: Batch, noise: tf.Tensor) -> Terms:
        """Return the terms of a batch for noise [L, B, N]."""
        return forward(self.model, batch, noise, training=False)

    def normal(self, name: str, first: tf.Tensor, width: int) -> tf.Tensor:
        """Return standard normal numbers [B, width]."""
        return self._stream(name).normal(np.int64(0), first, self.rows, width)

    def uniform(self, name: str, first: tf.Tensor, width: int) -> tf.Tensor:
        """Return numbers in (0, 1), [B, width]."""
        return self._stream(name).uniform(np.int64(0), first, self.rows, width)

    def _stream(self, name: str) -> Noise:
        return Noise(self.seed, f"evaluation/{name}/{self.split}")

    def table(
        self, name: str, compute: Callable[[tf.Tensor], tf.Tensor], width: int, count: int | None = None
    ) -> np.ndarray:
        """Return a table [count, width] float64, whose rows the replicas share."""

        def block(number: tf.Tensor) -> tf.Tensor:
            with keras.StatelessScope(state_mapping=self.average.mapping()):
                return in_mode(lambda: compute(number * self.rows), training=False)

        count = self.examples if count is None else count
        key = name, width, count
        if key not in self.tables:
            self.tables[key] = Table(self.strategy, block, count=count, rows=self.rows, width=width)
        return np.concatenate(list(self.tables[key])).astype(np.float64)
