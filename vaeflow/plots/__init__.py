"""Plots of a trained model as PNG files. Importing this package imports neither Matplotlib nor TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.figure import Figure

    from vaeflow.config import Config
    from vaeflow.contracts import Dataset
    from vaeflow.trained import TrainedVAE

__all__ = ["caption_of", "plot_all"]

FOLDER = "plots"
"""Where a run keeps its plots."""

METRICS = "metrics.jsonl"
"""Where a run keeps the rows that the curves are read from."""


def plot_all(
    trained: TrainedVAE,
    dataset: Dataset,
    directory: Path,
    *,
    metrics: Path | None = None,
    examples: int = 10_000,
    caption: str = "",
) -> list[Path]:
    """Draw all that fits a model and return the files, each written whole or not at all.

    `latents.png` always; `reconstructions.png`, `samples.png` and `manifold.png` (two latent dimensions) or
    `traversals.png` (any other number) where examples are images [H, W, 1 or 3]; `curves.png` where there are metrics.

    Args:
        trained: the model.
        dataset: its test split is shown, or its validation split, or what it was trained on.
        directory: where the files go; made if need be.
        metrics: the run's metrics.jsonl.
        examples: how many examples are encoded at most.
        caption: one small line below each plot, such as `caption_of` makes.

    Raises:
        OSError: if the disk refuses.
    """
    from vaeflow.plots import style

    figures = _figures(trained, dataset, metrics, examples, caption)
    return [style.save(figure, directory / f"{name}.png") for name, figure in figures]


def caption_of(config: Config) -> str:
    """Return one line that says what a plot was made from."""
    return f"{config.name}, seed {config.seed}: {config.dataset.name}, binarization {config.binarization.name}"


def _figures(
    trained: TrainedVAE, dataset: Dataset, metrics: Path | None, limit: int, caption: str
) -> Iterator[tuple[str, Figure]]:
    from vaeflow.plots import curves, latents, manifold, reconstructions, samples, traversals
    from vaeflow.plots.examples import Examples
    from vaeflow.plots.grid import is_image

    examples = Examples.held_out(trained, dataset, limit)
    yield "latents", latents.draw(trained, examples, caption=caption)
    if is_image(trained.x_shape):
        yield "reconstructions", reconstructions.draw(trained, examples, caption=caption)
        yield "samples", samples.draw(trained, caption=caption)
        if trained.latent_size == 2:
            yield "manifold", manifold.draw(trained, caption=caption)
        else:
            yield "traversals", traversals.draw(trained, examples, caption=caption)
    if metrics is not None and (found := curves.read(metrics)):
        yield "curves", curves.draw(found, caption=caption)
