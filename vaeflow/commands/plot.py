"""Draw the plots of a run again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.plots import FOLDER, METRICS, caption_of, plot_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def plot_run(
    run_dir: Path,
    *,
    formats: Sequence[str] = (),
    modules: Sequence[str] = (),
    data_dir: Path | None = None,
    accept_changes: bool = False,
) -> list[Path]:
    """Draw all plots that fit a run into its `plots` folder, and return the files.

    Args:
        run_dir: the run's directory.
        formats: png, pdf or both; empty for those of the run's config.
        modules: plugins that are not installed, as for --plugin.
        data_dir: the user's folder of data sets.
        accept_changes: draw even if config, plugin code or data have changed since the checkpoint.

    Raises:
        VaeflowError: if the run cannot be loaded.
        OSError: if writing fails.
    """
    from vaeflow.api import load

    run = load(run_dir, plugins=modules, data_dir=data_dir, accept_changes=accept_changes)
    files, _ = plot_all(
        run.experiment.plots,
        run.trained,
        run.dataset,
        run_dir / FOLDER,
        metrics=run_dir / METRICS,
        caption=caption_of(run.config),
        formats=formats or run.config.plots.formats,
    )
    return files
