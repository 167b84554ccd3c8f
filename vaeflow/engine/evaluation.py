"""The ELBO of a split, computed per example, so that the order of addition does not matter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from vaeflow.data.noise import Noise
from vaeflow.engine.columns import Columns, columns_of
from vaeflow.engine.forward import forward
from vaeflow.engine.table import Table
from vaeflow.model import elbo
from vaeflow.model.latents import noise_size
from vaeflow.model.modes import in_mode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vaeflow.contracts import Findings, LatentVariableModel, Metric, Terms
    from vaeflow.data.batches import Batch, Batches
    from vaeflow.distributed.strategies.base import Strategy
    from vaeflow.model.moving_average import MovingAverage

ACTIVE_VARIANCE = 0.01
BATCHES_PER_CALL = 25  # with one sample of z; fewer with more, so that signals are handled soon


@dataclass(frozen=True)
class Evaluation:
    """Means over the examples of a split.

    Attributes:
        examples: their number.
        log_likelihood: E log p(x given z), nats per example.
        kl: KL(q, p), nats per example.
        kl_per_dimension: [D] nats by split, or by `SPLIT/GROUP` if there are several groups of latents; only those
            whose divergence is a sum over dimensions.
        active_units: by group, latent dimensions whose posterior mean has a variance above 0.01 over the split (Burda
            et al. 2015).
        more: `kl/GROUP` if there are several groups, and `penalty` if the model has one, nats per example.
        metrics: of the config, by name.
        found: by metrics of the whole split, by name.
    """

    examples: int
    log_likelihood: float
    kl: float
    kl_per_dimension: Mapping[str, np.ndarray]
    active_units: Mapping[str, int]
    more: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    found: Mapping[str, Findings] = field(default_factory=dict)

    @property
    def elbo(self) -> float:
        """The ELBO on log p(x), nats per example (equation 6)."""
        return self.log_likelihood - self.kl

    def scalars(self, split: str) -> dict[str, float]:
        """Return the metrics by their names in the log, `test/elbo` and so on."""
        several = len(self.active_units) > 1
        by_group = {f"active_units/{name}": float(count) for name, count in self.active_units.items() if several}
        found = {
            "elbo": self.elbo,
            "log_likelihood": self.log_likelihood,
            "kl": self.kl,
            "active_units": float(sum(self.active_units.values())),
            **by_group,
            **self.more,
            **self.metrics,
            **{under(name, key): value for name, one in self.found.items() for key, value in one.values.items()},
        }
        return {f"{split}/{name}": value for name, value in found.items()}


def under(name: str, key: str) -> str:
    """Return the name of a metric's value in logs.

    >>> under("calibration", ""), under("calibration", "bias")
    ('calibration', 'calibration/bias')
    """
    return f"{name}/{key}" if key else name


def figures(evaluations: Mapping[str, Evaluation]) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the scalars of all splits by their names in logs, and `Evaluation.kl_per_dimension` of all."""
    scalars = {name: value for split, one in evaluations.items() for name, value in one.scalars(split).items()}
    return scalars, {name: kl for one in evaluations.values() for name, kl in one.kl_per_dimension.items()}


class Evaluator:
    """Evaluates a split with the current weights, or with their EMA if there is one.

    Replicas share the batches, and the terms of each example are collected unchanged: the metrics do not depend on the
    number of replicas.

    Args:
        strategy: runs the replicas.
        model: any model.
        batches: the split.
        average: moving averages of the weights.
        batch_size: examples at a time; kernels may round differently for another number.
        samples: L, the samples of z per example.
        seed: of the noise, the same at every evaluation.
        columns: of the model, without players.
        metrics: of the config, by name.
        whole: metrics of the whole split by name, each ready to be called.
    """

    def __init__(
        self,
        strategy: Strategy,
        model: LatentVariableModel,
        batches: Batches,
        average: MovingAverage,
        *,
        batch_size: int,
        samples: int,
        seed: int,
        columns: Columns,
        metrics: Mapping[str, Metric] | None = None,
        whole: Mapping[str, Callable[[], Findings]] | None = None,
    ) -> None:
        self._model, self._batches, self._average = model, batches, average
        self._rows, self._samples, self._metrics = batch_size, samples, dict(metrics or {})
        self._whole = dict(whole or {})
        self._noise = Noise(seed, f"evaluation/{batches.split}")
        self._columns = columns
        self._width = 2 + len(self._metrics) + self._columns.count + sum(self._columns.dimensions.values())
        self._table = Table(
            strategy,
            self._batch,
            count=batches.examples,
            rows=batch_size,
            width=self._width,
            at_a_time=BATCHES_PER_CALL // samples,
        )

    def __call__(self, between: Callable[[], object] = lambda: None) -> Evaluation:
        """Return the evaluation of the split; every process of the job must call this.

        Args:
            between: called after every few batches; its errors end the evaluation.
        """
        chunks = []
        for chunk in self._table:
            chunks.append(chunk)
            between()
        found = {}
        for name, metric in self._whole.items():
            found[name] = metric()
            between()
        return self._of_table(np.concatenate(chunks).astype(np.float64), found)

    def _of_table(self, table: np.ndarray, found: Mapping[str, Findings]) -> Evaluation:
        """Return the means of a table with one row per example, see `_batch`, and what the other metrics found."""
        log_likelihood, kl = (float(v) for v in table[:, :2].mean(axis=0))
        first = 2 + len(self._metrics)
        latents = first + self._columns.count
        columns = table[:, first:latents].mean(axis=0)
        return Evaluation(
            examples=len(table),
            log_likelihood=log_likelihood,
            kl=kl,
            kl_per_dimension=self._columns.per_dimension(self._batches.split, columns),
            active_units=self._active(table[:, latents:]),
            more=self._columns.scalars(columns),
            metrics=dict(zip(self._metrics, table[:, 2:first].mean(axis=0).tolist(), strict=True)),
            found=found,
        )

    def _active(self, means: np.ndarray) -> dict[str, int]:
        """Return the number of active units of each group, for means [N, D of all groups]."""
        active, first = {}, 0
        for name, size in self._columns.dimensions.items():
            active[name] = int(np.sum(means[:, first : first + size].var(axis=0) > ACTIVE_VARIANCE))
            first += size
        return active

    def _batch(self, number: tf.Tensor) -> tf.Tensor:
        """Return rows of log-likelihood, divergence, M metrics, K columns and D means, [rows, 2 + M + K + D]."""
        first = number * self._rows
        batch = self._batches.in_order(first, self._rows)
        width = noise_size(self._model.latents)
        noise = self._noise.samples(tf.constant(0, tf.int64), first, self._rows, samples=self._samples, width=width)
        with keras.StatelessScope(state_mapping=self._average.mapping()):
            terms = forward(self._model, batch, noise, training=False)
            metrics, means = in_mode(lambda: self._of_terms(batch, terms), training=False)
        scalars = tf.stack([elbo.expected_log_likelihood(terms.log_likelihood), terms.kl, *metrics], axis=1)
        return tf.concat([scalars, columns_of(terms), *means], axis=1)

    def _of_terms(self, batch: Batch, terms: Terms) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Return the metrics of each example, and its posterior's means by group, [rows, D]."""
        metrics = [tf.ensure_shape(metric(batch.x, terms), (self._rows,)) for metric in self._metrics.values()]
        return metrics, self._means(batch, terms)

    def _means(self, batch: Batch, terms: Terms) -> list[tf.Tensor]:
        """Return the means of q, or of `encode` where a group's mean depends on samples of the groups above."""
        if len(self._model.latents) == 1:
            (group,) = self._model.latents
            q = terms.q.get(group.name)
            mean = None if q is None else q.mean()
            if mean is not None and mean.shape.rank == 1 + len(group.shape):
                return [tf.reshape(mean, (self._rows, -1))]
        means = self._model.encode(batch.x, labels=batch.labels)
        return [tf.reshape(means[group.name], (self._rows, -1)) for group in self._model.latents]
