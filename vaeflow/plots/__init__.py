"""Plots of a trained model as PNG or PDF files. Importing this package imports neither Matplotlib nor TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vaeflow.errors import PluginError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from vaeflow.config.schema import Config
    from vaeflow.contracts import Dataset
    from vaeflow.model.trained_vae import TrainedVAE
    from vaeflow.plots.examples import Examples

__all__ = ["Plot", "Subject", "caption_of", "plot_all"]

FOLDER = "plots"
"""The folder of plots in a run directory."""

FORMATS = ("png", "pdf")
"""Formats of the files of plots."""

METRICS = "metrics.jsonl"
"""The file of metrics in a run directory, from which curves are drawn."""


@dataclass(frozen=True)
class Subject:
    """The model and data of a plot.

    Attributes:
        trained: the model.
        examples: held-out examples, prepared for the model.
        metrics: the run's metrics.jsonl, or None.
        caption: one small line below the plot, such as `caption_of` makes.
    """

    trained: TrainedVAE
    examples: Examples
    metrics: Path | None = None
    caption: str = ""


class Plot(Protocol):
    """A picture of a trained model, built by a component of kind plot. It is drawn on rank 0 only."""

    def __call__(self, subject: Subject) -> Figure | None:
        """Return the picture, or None if it does not fit the model (no images, not two latent dimensions)."""


def plot_all(
    plots: Mapping[str, Plot],
    trained: TrainedVAE,
    dataset: Dataset,
    directory: Path,
    *,
    metrics: Path | None = None,
    examples: int = 10_000,
    caption: str = "",
    formats: Sequence[str] = ("png",),
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[list[Path], list[str]]:
    """Draw all plots that fit a model into `NAME.png` or `NAME.pdf` files, which are written atomically.

    Args:
        plots: by name.
        trained: the model.
        dataset: its test split is shown, or its validation split, or its training split.
        directory: the folder of the files; created if it is missing.
        metrics: the run's metrics.jsonl.
        examples: most examples that are encoded.
        caption: one small line below each plot.
        formats: png, pdf or both.
        stopped: returns whether to stop; called before each plot.

    Returns:
        The files, and the names of the plots that were not drawn because it was stopped.

    Raises:
        OSError: if writing fails.
        PluginError: with the plot's name, if a plot fails.
    """
    from vaeflow.plots.examples import Examples

    subject = Subject(trained, Examples.held_out(trained, dataset, examples), metrics, caption)
    files: list[Path] = []
    left = list(plots)
    while left and not stopped():
        name = left.pop(0)
        files.extend(
            _drawn(name, plots[name], subject, [directory / f"{name}.{kind}" for kind in dict.fromkeys(formats)])
        )
    return files, left


def caption_of(config: Config) -> str:
    """Return one line about the run of a plot."""
    return f"{config.name}, seed {config.seed}: {config.dataset.name}, binarization {config.binarization.name}"


def _drawn(name: str, plot: Plot, subject: Subject, paths: Sequence[Path]) -> list[Path]:
    try:
        return _saved(plot(subject), paths)
    except (VaeflowError, OSError):
        raise
    except Exception as error:
        raise PluginError(f"plot {name!r}: {type(error).__name__}: {' '.join(str(error).split())}") from error


def _saved(figure: Figure | None, paths: Sequence[Path]) -> list[Path]:
    from matplotlib import figure as matplotlib

    from vaeflow.plots import style

    if figure is None:
        return []
    if not isinstance(figure, matplotlib.Figure):
        raise TypeError(f"it returned {type(figure).__name__}, not a matplotlib.figure.Figure or None")
    return [style.save(figure, path) for path in paths]
