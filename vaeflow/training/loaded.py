"""A run in this process: its arrays, its figures and its history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaeflow.errors import UsageError, nearest
from vaeflow.training.evaluate import evaluated
from vaeflow.training.evaluation_request import EvaluationRequest
from vaeflow.training.history import history_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from vaeflow.config.schema import Config
    from vaeflow.contracts import Dataset
    from vaeflow.data.batches import Batches
    from vaeflow.model.trained_vae import Labels, Latents, TrainedVAE
    from vaeflow.plugins.discovery import Plugin
    from vaeflow.training.experiment import Experiment
    from vaeflow.training.keras_models import Decoder, Encoder, GenerativeModel
    from vaeflow.training.keras_models.of_run import Kind, ModelsOfRun

EXAMPLES_AT_A_TIME = 10_000
ELBOS = ("test/elbo", "validation/elbo", "train/elbo")  # the most important first


class Run:
    """A run with its current weights. Arrays are NumPy's; B examples of shape X, D latents.

    `vaeflow.train`, `load` and `resume` return one.

    Attributes:
        experiment: its components, with the state.
        step: optimizer steps taken.
        metrics: the newest values by name, such as `test/elbo`, in nats per example.
    """

    def __init__(
        self,
        directory: Path | None,
        experiment: Experiment,
        *,
        step: int = 0,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        self._directory, self.experiment = directory, experiment
        self.step, self.metrics = step, dict(metrics or {})
        self._models: ModelsOfRun | None = None

    def __repr__(self) -> str:
        """Return one line: `<Run mnist-2d in runs/mnist-2d: step 600 of 12000, test/elbo -161.20 nats>`."""
        total = self.experiment.timeline.total_steps
        figures = [f", {name} {self.metrics[name]:.2f} nats" for name in ELBOS if name in self.metrics][:1]
        place = f" in {self._directory}" if self._directory else ""
        return f"<Run {self.config.name}{place}: step {self.step} of {total}{''.join(figures)}>"

    def _repr_html_(self) -> str:
        """Return the line and the run's pictures, for notebooks."""
        from vaeflow.training.html import html_of

        return html_of(repr(self).strip("<>"), self._directory)

    @property
    def directory(self) -> Path:
        """The run's directory.

        Raises:
            UsageError: if training has not begun and no directory was given.
        """
        if self._directory is None:
            raise UsageError(f"{self!r} has no directory before its first epoch; give run_dir")
        return self._directory

    @property
    def config(self) -> Config:
        """The config as resolved."""
        return self.experiment.config

    @property
    def dataset(self) -> Dataset:
        """The data set, before binarization."""
        return self.experiment.dataset

    @property
    def trained(self) -> TrainedVAE:
        """The model with a NumPy interface."""
        return self.experiment.trained

    @property
    def history(self) -> Any:
        """The rows of metrics.jsonl: a pandas.DataFrame if pandas is installed, else a dict of lists by column.

        Columns are `step`, `epoch` and the metrics by name. A row has the metrics of a log entry or of an evaluation;
        the others are NaN (None without pandas).
        """
        return history_of(self.directory)

    def evaluate(
        self,
        split: str = "test",
        *,
        samples: int | None = None,
        importance_samples: int | None = None,
        annealing_steps: int = 0,
        memory: float | None = None,
        metrics: Sequence[str | Mapping[str, Any]] = (),
        features: str | Path | Callable[..., Any] | None = None,
        plugins: Sequence[Plugin] = (),
    ) -> dict[str, Any]:
        """Return metrics of a split, as `vaeflow evaluate` prints them; no file is written.

        Args:
            split: `train`, `validation` or `test`.
            samples: L, the samples of z per example; None uses the config's.
            importance_samples: K, the samples per example to estimate log p(x) with, too; None does not estimate it.
            annealing_steps: T, to estimate it by annealed importance sampling, with K chains of T steps; else 0.
            memory: bytes that these samples may take; None uses what is available.
            metrics: names of metrics beside those of the config; or tables, `{"name": "calibration", "draws": 9}`.
            features: for `precision-recall`: the path of a .keras file, an importable `module:function`, or a function
                from x [B, *X] to features [B, F]; None uses the run's own encoder.
            plugins: that have these metrics and are not installed.

        Raises:
            UsageError: if there is no such split or metric, or memory does not suffice.
        """
        request = EvaluationRequest(
            split,
            samples,
            importance_samples=importance_samples,
            annealing_steps=annealing_steps,
            memory=memory,
            metrics=metrics,
            features=features,
        )
        return self.evaluated(request, plugins)

    def evaluated(self, request: EvaluationRequest, plugins: Sequence[Plugin] = ()) -> dict[str, Any]:
        """Return what `evaluate` does, for a request. `plugins` have its metrics and are not installed."""
        from vaeflow.distributed.strategies.processes import Processes

        processes = Processes(self.experiment.strategy)
        return evaluated(self.experiment, request, request.more_metrics(plugins), processes)[0]

    @property
    def model(self) -> GenerativeModel:
        """The model as a Keras model with the current weights, or their EMA: `model(x)`, `save`, `export`, `summary`.

        Its weights are a copy: after more training, get it again. `encoder` and `decoder` are parts of it.
        """
        from vaeflow.training.keras_models import GenerativeModel

        return self._keras(GenerativeModel)

    @property
    def encoder(self) -> Encoder:
        """A Keras model from x [B, *X] to the means of q(z given x), [B, D], or by group if there are several."""
        from vaeflow.training.keras_models import Encoder

        return self._keras(Encoder)

    @property
    def decoder(self) -> Decoder:
        """A Keras model from z [B, D], or by group, to the expected x, [B, *X]."""
        from vaeflow.training.keras_models import Decoder

        return self._keras(Decoder)

    def _keras(self, kind: type[Kind]) -> Kind:
        from vaeflow.training.keras_models.of_run import ModelsOfRun

        self._models = self._models or ModelsOfRun(self.experiment)
        return self._models.get(kind, self.step)

    def examples(self, split: str = "test", count: int | None = None) -> np.ndarray:
        """Return prepared examples x [count, *X] of a split, as evaluations see them, in the order they are stored.

        Args:
            split: `train`, `validation` or `test`.
            count: how many, the first ones; all by default.

        Raises:
            UsageError: if there is no such split, or if it has fewer examples.
        """
        import numpy as np

        batches = self._batches(split)
        count = batches.examples if count is None else count
        if not 1 <= count <= batches.examples:
            raise UsageError(f"count={count}: split {split!r} has {batches.examples} examples; allowed are 1 to that")
        return np.concatenate([x for _, x in _blocks(batches, count)])

    def embeddings(self, split: str = "test") -> np.ndarray | dict[str, np.ndarray]:
        """Return the means of q(z given x) of all examples of a split, in the order they are stored.

        All processes of a job call this; replicas share the examples.

        Args:
            split: `train`, `validation` or `test`.

        Returns:
            An array [N, D] (or [N, *shape]), or by group if there are several.

        Raises:
            UsageError: if there is no such split.
        """
        from vaeflow.training.embeddings import means_of

        means = means_of(self.experiment, split)
        return means if len(means) > 1 else next(iter(means.values()))

    def _batches(self, split: str) -> Batches:
        if split not in self.experiment.batches:
            raise UsageError(f"unknown split {split!r}; {nearest(split, self.experiment.batches)}")
        return self.experiment.batches[split]

    def prepare(self, pixels: np.ndarray, *, split: str = "test") -> np.ndarray:
        """Return x [B, *X] for stored pixels [B, *X], binarized as in the run."""
        return self.trained.prepare(pixels, split=split)

    def encode(
        self, x: np.ndarray, *, labels: Labels = None, any_values: bool = False
    ) -> np.ndarray | dict[str, np.ndarray]:
        """Return the means of q(z given x), [B, D], or by group if there are several, for prepared x [B, *X].

        Args:
            x: from `examples` or `prepare`.
            labels: the class of each example, for a conditional model.
            any_values: allow values that no prepared example of the run has, such as probabilities.

        Raises:
            UsageError: if x has other values, as stored pixels do, or another shape, or labels are missing.
        """
        return self.trained.encode(x, labels=labels, any_values=any_values)

    def decode(self, z: Latents, *, labels: Labels = None) -> np.ndarray:
        """Return the expected x given z, [B, *X], for z [B, D], or by group if there are several."""
        return self.trained.decode(z, labels=labels)

    def reconstruct(self, x: np.ndarray, *, labels: Labels = None, any_values: bool = False) -> np.ndarray:
        """Return the expected x given the posterior's mean, [B, *X], for x [B, *X]; it takes what `encode` takes."""
        return self.trained.reconstruct(x, labels=labels, any_values=any_values)

    def sample(
        self, count: int, *, seed: int = 0, expected: bool = True, labels: Labels = None, temperature: float = 1.0
    ) -> np.ndarray:
        """Return examples from the prior, [count, *X]: expected values, or draws from the likelihood.

        Args:
            count: how many.
            seed: equal seeds give equal examples.
            expected: return expected values; False draws from the likelihood.
            labels: the class of each example (or one for all), for a conditional model; by default all in turn.
            temperature: factor of the prior's noise; less than 1 gives more typical examples.
        """
        return self.trained.sample(count, seed=seed, expected=expected, labels=labels, temperature=temperature)

    def elbo(
        self, x: np.ndarray, *, samples: int = 1, seed: int = 0, labels: Labels = None, any_values: bool = False
    ) -> np.ndarray:
        """Return the ELBO on log p(x) of each example, [B] nats, for L = samples; x is what `encode` takes."""
        return self.trained.elbo(x, samples=samples, seed=seed, labels=labels, any_values=any_values)

    def labels(self, split: str = "test", count: int | None = None) -> np.ndarray | None:
        """Return the labels of the examples that `examples` returns, [count]; None if the data have none."""
        y = self.dataset.splits()[split].y
        return None if y is None else y[: len(y) if count is None else count]


def _blocks(batches: Batches, count: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the first examples of a split in blocks: which they are, and x."""
    import numpy as np
    import tensorflow as tf

    for first in range(0, count, EXAMPLES_AT_A_TIME):
        rows = slice(first, min(first + EXAMPLES_AT_A_TIME, count))
        yield rows, np.asarray(batches.in_order(tf.constant(first, tf.int64), rows.stop - first).x)
