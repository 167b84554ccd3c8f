"""Metrics of a whole split: what they are given, and what they return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import tensorflow as tf

    from vaeflow.plugins.contracts.data import Dataset
    from vaeflow.plugins.contracts.model import LatentVariableModel
    from vaeflow.plugins.contracts.terms import Terms


@dataclass(frozen=True)
class Histogram:
    """A histogram that an evaluation draws.

    Attributes:
        title: one line.
        edges: of the K bins, [K + 1], ascending.
        density: the share of the values in each bin over the bin's width, [K].
        expected: a density to compare it with, [K]; None draws none.
        axis: what the values are.
    """

    title: str
    edges: np.ndarray
    density: np.ndarray
    expected: np.ndarray | None = None
    axis: str = ""


@dataclass(frozen=True)
class Findings:
    """What a metric of a whole split returns.

    Attributes:
        values: numbers by key. `SPLIT/NAME/KEY` is their name in logs, or `SPLIT/NAME` for the key "".
        arrays: more numbers by name, such as one per latent dimension, for evaluation-SPLIT.json.
        about: what was computed by name, such as the number of examples, for the same file: texts and numbers.
        histograms: for a picture, evaluation-SPLIT-NAME.png.
    """

    values: Mapping[str, float]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    histograms: tuple[Histogram, ...] = ()


@dataclass(frozen=True)
class Features:
    """A function from x to features, by which samples are compared with examples.

    Attributes:
        name: what it is, for the output.
        compute: takes x [B, *X] float32 to [B, F] by TensorFlow's operations.
    """

    name: str
    compute: Callable[[tf.Tensor], tf.Tensor]


class WholeSplit(Protocol):
    """A split and a trained model. Every process of a job has one, and calls it in the same order."""

    @property
    def split(self) -> str:
        """The split's name."""

    @property
    def examples(self) -> int:
        """N."""

    @property
    def rows(self) -> int:
        """B, the examples at a time: `evaluate.batch_size`."""

    @property
    def samples(self) -> int:
        """L, the samples of z per example."""

    @property
    def model(self) -> LatentVariableModel:
        """The model."""

    @property
    def dataset(self) -> Dataset:
        """The data set, before transforms and binarization."""

    @property
    def features(self) -> Features | None:
        """The feature network that the user named; None if there is none."""

    def batch(self, first: tf.Tensor) -> Any:
        """Return examples [first, first + B): x [B, *X], and y and labels as in `Terms`. Those after N are padding."""

    def terms(self, first: tf.Tensor, samples: int | None = None) -> Terms:
        """Return the terms of `batch(first)`, with the noise of evaluations.

        Args:
            first: the number of an example.
            samples: L; None for that of the evaluation.
        """

    def terms_of(self, batch: Any, noise: tf.Tensor) -> Terms:
        """Return the terms of a batch (such as `batch(first)._replace(x=...)`) for noise [L, B, N]."""

    def normal(self, name: str, first: tf.Tensor, width: int) -> tf.Tensor:
        """Return standard normal numbers [B, width] of examples [first, first + B), of a stream with a name."""

    def uniform(self, name: str, first: tf.Tensor, width: int) -> tf.Tensor:
        """Return numbers in (0, 1), [B, width], as `normal` does."""

    def table(
        self, name: str, compute: Callable[[tf.Tensor], tf.Tensor], width: int, count: int | None = None
    ) -> np.ndarray:
        """Return a table [count, width] float64, whose rows the replicas share.

        Args:
            name: of the table, such as "calibration/ranks": at the next evaluation, the graph of the first call with
                this name, width and count is used again.
            compute: takes `first`, the number of an example, and returns rows [B, width] float32 of B examples; it is
                traced once, with the layers in the mode of evaluations and with the EMA of the weights if there is one.
            width: of a row.
            count: the number of rows; None for N.
        """


class SplitMetric(Protocol):
    """A metric of a whole split, for what is no mean over examples. An attribute `whole_split = True` declares it."""

    whole_split: bool

    def __call__(self, split: WholeSplit) -> Findings:
        """Return what was found.

        Raises:
            UsageError: if the model or the data do not have what it needs.
        """
