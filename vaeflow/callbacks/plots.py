"""Write plots as PNG or PDF files at the end of a run, and optionally during it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.callbacks.base import Callback
from vaeflow.plots import FOLDER, METRICS, caption_of, plot_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from vaeflow.callbacks.base import Record, RunView


class Plots(Callback):
    """Draws into `plots/` at the end, and into `plots/epoch-NNN/` every `every_epochs` epochs.

    Args:
        every_epochs: epochs between two sets of plots; 0 draws one set, at the end. Sets are drawn only after
            evaluations.
        examples: most examples that are encoded.
        formats: png, pdf or both.

    Attributes:
        then: called with the files that were drawn.
    """

    def __init__(self, *, every_epochs: int = 0, examples: int = 10_000, formats: Sequence[str] = ("png",)) -> None:
        self._every, self._examples, self._formats = every_epochs, examples, formats
        self.then: Callable[[RunView, Sequence[Path]], None] | None = None
        self._drawn = 0

    def on_start(self, run: RunView) -> None:
        """Set the number of sets that an earlier part of the run has drawn."""
        self._drawn = self._sets(run.first_step / run.steps_per_epoch)

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """Draw if it is time."""
        if not record.final and self._sets(record.epoch) > self._drawn:
            self._drawn = self._sets(record.epoch)
            self._draw(run, run.directory / FOLDER / f"epoch-{int(record.epoch):03d}", f"epoch {record.epoch:g}")

    def on_end(self, run: RunView) -> None:
        """Draw the final set."""
        self._draw(run, run.directory / FOLDER, f"epoch {run.step / run.steps_per_epoch:.4g}")

    def _sets(self, epoch: float) -> int:
        """Return how many sets a run has drawn by an epoch."""
        return int(epoch) // self._every if self._every else 0

    def _draw(self, run: RunView, directory: Path, when: str) -> None:
        with run.doing("drawing plots"):
            files, left = plot_all(
                run.plots,
                run.trained,
                run.dataset,
                directory,
                metrics=run.directory / METRICS,
                examples=self._examples,
                caption=f"{caption_of(run.config)}, {when}",
                formats=self._formats,
                stopped=run.stop_requested,
            )
        if left:
            run.say(
                f"warning: a signal came, and these plots of {when} were not drawn: {', '.join(left)}; "
                f"`vaeflow plot {run.directory}` draws those of the newest checkpoint"
            )
        if self.then is not None:
            self.then(run, files)
