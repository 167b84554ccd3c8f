"""Use vaeflow from Python: train a config, load a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.config.compose import Composed, compose
from vaeflow.config.resolve import resolve
from vaeflow.config.schema import Config
from vaeflow.data.sets import Folders
from vaeflow.errors import UsageError, nearest
from vaeflow.plugins.registry import Registry
from vaeflow.training.checkpoints.restore import restore_to_read
from vaeflow.training.run import resolve_run, run
from vaeflow.training.run_files.directory import RunDirectory
from vaeflow.training.setup import prepare_to_read

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from vaeflow.config.resolve import Resolved
    from vaeflow.contracts import Dataset
    from vaeflow.model.trained_vae import Labels, Latents, TrainedVAE
    from vaeflow.training.experiment import Experiment

EXAMPLES_AT_A_TIME = 10_000


@dataclass(frozen=True)
class LoadedRun:
    """A run that was loaded from disk. Arrays are NumPy's; B examples of shape X, D latents.

    Attributes:
        directory: the run's directory.
        experiment: its components, with the restored state.
    """

    directory: Path
    experiment: Experiment

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
        """The model."""
        return self.experiment.trained

    def examples(self, split: str = "test", count: int | None = None) -> np.ndarray:
        """Return prepared examples x [count, *X] of a split, as evaluations see them, in the order they are stored.

        Args:
            split: `train`, `validation` or `test`.
            count: how many, the first ones; all by default.

        Raises:
            UsageError: if there is no such split, or if it has fewer examples.
        """
        import numpy as np
        import tensorflow as tf

        if split not in self.experiment.batches:
            raise UsageError(f"unknown split {split!r}; {nearest(split, self.experiment.batches)}")
        batches = self.experiment.batches[split]
        count = batches.examples if count is None else count
        if not 1 <= count <= batches.examples:
            raise UsageError(f"count={count}: split {split!r} has {batches.examples} examples; allowed are 1 to that")
        starts = range(0, count, EXAMPLES_AT_A_TIME)
        blocks = [batches.in_order(tf.constant(i, tf.int64), min(EXAMPLES_AT_A_TIME, count - i)).x for i in starts]
        return np.concatenate([np.asarray(block) for block in blocks])

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


def train(
    config: Config | str | Path = "mnist-2d",
    *,
    overrides: Sequence[str] = (),
    run_dir: str | Path | None = None,
    plugins: Sequence[str] = (),
    data_dir: str | Path | None = None,
) -> LoadedRun:
    """Train a config and return the run.

    Args:
        config: a `Config`, a recipe's name or a TOML file.
        overrides: settings on top of a recipe or file, such as `epochs=5`.
        run_dir: the run's directory; None takes the next free one below `runs/`.
        plugins: modules with components or recipes, for plugins that are not installed; `no:NAME` disables an
            installed one.
        data_dir: the user's folder of data sets.

    Returns:
        The run, with the weights of its last step.

    Raises:
        VaeflowError: see its subclasses.
    """

    def find() -> Resolved:
        registry = Registry.load(plugins)
        composed = Composed(config) if isinstance(config, Config) else compose(config, overrides, registry.recipe)
        return resolve(composed, registry)

    folders = Folders.default(Path(data_dir) if data_dir else None)
    directory = run(find, Path(run_dir) if run_dir else None, folders)
    if directory is None:
        raise AssertionError("a run that is no dry run has a directory")
    return load(directory.path, plugins=plugins, data_dir=data_dir)


def load(
    run_dir: str | Path,
    *,
    best: bool = False,
    plugins: Sequence[str] = (),
    data_dir: str | Path | None = None,
    accept_changes: bool = False,
) -> LoadedRun:
    """Load a run with the weights of its newest valid checkpoint.

    Args:
        run_dir: the run's directory.
        best: take the checkpoint that a callback chose, or else the one with the best ELBO on the validation split.
        plugins: modules with components, for plugins that are not installed.
        data_dir: the user's folder of data sets.
        accept_changes: load it although config, plugin code or data have changed since.

    Raises:
        UsageError: if it is no run's directory, if no checkpoint is the best, or if what its figures depend on has
            changed.
        CheckpointError: if none of its checkpoints is valid.
    """
    directory = RunDirectory.open(Path(run_dir))
    resolved = resolve_run(directory, plugins)
    experiment, record = prepare_to_read(resolved, Folders.default(Path(data_dir) if data_dir else None))
    restore_to_read(directory, resolved, experiment, record, best=best, accept_changes=accept_changes)
    return LoadedRun(directory.path, experiment)
