"""vaeflow from Python: train a config, load a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.config import Config
from vaeflow.config_layers import Composed, compose
from vaeflow.config_resolve import resolve
from vaeflow.data import Folders
from vaeflow.plugins.registry import Registry
from vaeflow.run_directory import RunDirectory
from vaeflow.runs import resolve_run, run
from vaeflow.session import restore
from vaeflow.start import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from vaeflow.contracts import Dataset
    from vaeflow.experiment import Experiment
    from vaeflow.trained import TrainedVAE


@dataclass(frozen=True)
class LoadedRun:
    """A run from the disk. Arrays are NumPy's; B examples of shape X, D latents.

    Attributes:
        directory: where it lies.
        experiment: what it was trained with, its state restored.
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

    def prepare(self, pixels: np.ndarray, *, split: str = "test") -> np.ndarray:
        """Return x [B, *X] for stored pixels [B, *X], binarized as in the run."""
        return self.trained.prepare(pixels, split=split)

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Return the means of q(z given x), [B, D], for x [B, *X]."""
        return self.trained.encode(x)

    def decode(self, z: np.ndarray) -> np.ndarray:
        """Return the expected x given z, [B, *X], for z [B, D]."""
        return self.trained.decode(z)

    def reconstruct(self, x: np.ndarray) -> np.ndarray:
        """Return the expected x given the posterior's mean, [B, *X], for x [B, *X]."""
        return self.trained.reconstruct(x)

    def sample(self, count: int, *, seed: int = 0, expected: bool = True) -> np.ndarray:
        """Return examples from the prior, [count, *X]: expected values, or draws from the likelihood."""
        return self.trained.sample(count, seed=seed, expected=expected)

    def elbo(self, x: np.ndarray, *, samples: int = 1, seed: int = 0) -> np.ndarray:
        """Return the bound on log p(x) of each example, [B] nats, for x [B, *X] and L = samples."""
        return self.trained.elbo(x, samples=samples, seed=seed)


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
        plugins: modules with components, for plugins that are not installed; `no:NAME` leaves an installed one out.
        data_dir: the user's folder of data sets.

    Returns:
        The run, with the weights of its last step.

    Raises:
        VaeflowError: see its subclasses.
    """
    composed = Composed(config) if isinstance(config, Config) else compose(config, overrides)
    resolved = resolve(composed, Registry.load(plugins))
    folders = Folders.default(Path(data_dir) if data_dir else None)
    directory = run(resolved, Path(run_dir) if run_dir else None, folders)
    if directory is None:
        raise AssertionError("a run that is no dry run has a directory")
    return load(directory.path, plugins=plugins, data_dir=data_dir)


def load(
    run_dir: str | Path, *, best: bool = False, plugins: Sequence[str] = (), data_dir: str | Path | None = None
) -> LoadedRun:
    """Load a run with the weights of its newest valid checkpoint.

    Args:
        run_dir: the run's directory.
        best: take the checkpoint that a callback chose, or else the one with the best bound on the validation split (on
            the test split where there is none).
        plugins: modules with components, for plugins that are not installed.
        data_dir: the user's folder of data sets.

    Raises:
        UsageError: if it is no run's directory.
        CheckpointError: if none of its checkpoints is valid.
    """
    directory = RunDirectory.open(Path(run_dir))
    resolved = resolve_run(directory, plugins)
    experiment = prepare(resolved, Folders.default(Path(data_dir) if data_dir else None), to_train=False)
    restore(directory, experiment, best=best)
    return LoadedRun(directory.path, experiment)
