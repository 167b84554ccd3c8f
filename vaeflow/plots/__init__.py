"""Plots of a trained model as PNG files. Importing this package imports neither Matplotlib nor TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vaeflow.errors import PluginError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure

    from vaeflow.config.schema import Config
    from vaeflow.contracts import Dataset
    from vaeflow.model.trained_vae import TrainedVAE
    from vaeflow.plots.examples import Examples

__all__ = ["Plot", "Subject", "caption_of", "plot_all"]

FOLDER = "plots"
"""Where a run keeps its plots."""

METRICS = "metrics.jsonl"
"""Where a run keeps the rows that the curves are read from."""


@dataclass(frozen=True)
class Subject:
    """What is drawn.

    Attributes:
        trained: the model.
        examples: held-out ones, as the model sees them.
        metrics: the run's metrics.jsonl, or None.
        caption: one small line below the plot, such as `caption_of` makes.
    """

    trained: TrainedVAE
    examples: Examples
    metrics: Path | None = None
    caption: str = ""


class Plot(Protocol):
    """A picture of a trained model: a component of kind plot builds one. It is drawn on the chief alone."""

    def __call__(self, subject: Subject) -> Figure | None:
        """Return the picture, or None where there is none of such a model (no image, not two latent dimensions)."""


def plot_all(
    plots: Mapping[str, Plot],
    trained: TrainedVAE,
    dataset: Dataset,
    directory: Path,
    *,
    metrics: Path | None = None,
    examples: int = 10_000,
    caption: str = "",
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[list[Path], list[str]]:
    """Draw all that fits a model, `NAME.png`, each written completely or not at all.

    Args:
        plots: by name.
        trained: the model.
        dataset: its test split is shown, or its validation split, or what it was trained on.
        directory: where the files go; made if need be.
        metrics: the run's metrics.jsonl.
        examples: how many examples are encoded at most.
        caption: one small line below each plot.
        stopped: whether to draw no more; called before each plot.

    Returns:
        The files, and the names of the plots that were not drawn because it was stopped.

    Raises:
        OSError: if the disk refuses.
        PluginError: if a plot fails; it is named.
    """
    from vaeflow.plots.examples import Examples

    subject = Subject(trained, Examples.held_out(trained, dataset, examples), metrics, caption)
    files, left = [], list(plots)
    while left and not stopped():
        name = left.pop(0)
        files.append(_drawn(name, plots[name], subject, directory / f"{name}.png"))
    return [file for file in files if file is not None], left


def caption_of(config: Config) -> str:
    """Return one line that says what a plot was made from."""
    return f"{config.name}, seed {config.seed}: {config.dataset.name}, binarization {config.binarization.name}"


def _drawn(name: str, plot: Plot, subject: Subject, path: Path) -> Path | None:
    try:
        return _saved(plot(subject), path)
    except (VaeflowError, OSError):
        raise
    except Exception as error:
        raise PluginError(f"plot {name!r}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _saved(figure: Figure | None, path: Path) -> Path | None:
    from matplotlib import figure as matplotlib

    from vaeflow.plots import style

    if figure is None:
        return None
    if not isinstance(figure, matplotlib.Figure):
        raise TypeError(f"it returned {type(figure).__name__}, not a matplotlib.figure.Figure or None")
    return style.save(figure, path)
