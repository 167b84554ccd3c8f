"""The callback that writes TensorBoard logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from vaeflow.callbacks.base import Callback
from vaeflow.callbacks.tensorboard import embedding, graph, histograms, hparams, images, scalars
from vaeflow.callbacks.tensorboard.truncate import drop_after
from vaeflow.plots.examples import Examples
from vaeflow.plots.grid import is_image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from vaeflow.callbacks.base import Record, RunView
    from vaeflow.config.hyperparameters import Leaf

FOLDER = "tensorboard"


class TensorBoard(Callback):
    """Writes `tensorboard/` in the run's directory: `tensorboard --logdir RUN` shows it.

    Scalars are written at log entries and evaluations, histograms and images at evaluations, the projector's files at
    the end, the graph, the config and the hyperparameters at the start. A resumed run drops entries after its
    checkpoint.

    Args:
        histograms: of weights and latent means.
        images: reconstructions, samples, manifold or traversals; only if examples are [H, W, 1 or 3].
        projector: latent means with labels and pictures.
        graph: of the model.
        config: the run's config as TOML, shown as text.
        hparams: values by which runs are compared, by dotted key; None writes none.
        examples: held-out examples that histograms and images are made from.
        projector_examples: held-out examples in the projector.
    """

    def __init__(
        self,
        *,
        histograms: bool = True,
        images: bool = True,
        projector: bool = True,
        graph: bool = True,
        config: str = "",
        hparams: Mapping[str, Leaf] | None = None,
        examples: int = 1000,
        projector_examples: int = 1000,
    ) -> None:
        self._histograms, self._images, self._projector = histograms, images, projector
        self._graph, self._config, self._hparams = graph, config, hparams
        self._limit, self._projector_limit = examples, projector_examples
        self._writer: tf.summary.SummaryWriter | None = None
        self._examples: Examples | None = None

    def on_start(self, run: RunView) -> None:
        """Open the logs; a new run writes its config and graph.

        Raises:
            OSError: if writing fails.
        """
        folder = self._folder(run)
        folder.mkdir(parents=True, exist_ok=True)
        for lost in drop_after(folder, run.first_step):
            run.say(f"warning: {lost}")
        self._writer = tf.summary.create_file_writer(str(folder))
        if self._images and not is_image(run.trained.x_shape):
            run.say(f"TensorBoard shows no images: examples of shape {run.trained.x_shape} are not [H, W, 1 or 3]")
            self._images = False
        if run.first_step == 0:
            self._describe(run)

    def on_log(self, run: RunView, record: Record) -> None:  # noqa: ARG002
        """Write scalars."""
        with self._open().as_default():
            self._write_scalars(record)

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """Write scalars, histograms and images."""
        with run.doing("writing TensorBoard's files"), self._open().as_default():
            self._write_scalars(record)
            if self._histograms:
                histograms.write_weights(run.trained.model, record.step)
                histograms.write_latents(self._shown(run).means(run.trained), record.step)
            if self._images:
                images.write_images(run.trained, self._shown(run), record.step)
        self._open().flush()

    def show_plots(self, run: RunView, files: Sequence[Path]) -> None:
        """Write plots that were drawn, as `images/plots/NAME`, except those that TensorBoard has already.

        Those are the curves, and the pictures that every evaluation writes.

        Args:
            run: the run.
            files: their files, of which PNG files are written.
        """
        there = {"curves", *(images.NAMES if self._images else ())}
        with self._open().as_default():
            for path in (path for path in files if path.suffix == ".png" and path.stem not in there):
                picture = tf.io.decode_png(path.read_bytes(), channels=3)
                tf.summary.image(f"images/plots/{path.stem}", picture[None], step=run.step)

    def on_end(self, run: RunView) -> None:
        """Write the projector's files and close the logs.

        Raises:
            OSError: if writing fails.
        """
        with run.doing("writing TensorBoard's files"):
            self._finish(run)

    def _finish(self, run: RunView) -> None:
        if self._projector:
            examples = Examples.held_out(run.trained, run.dataset, self._projector_limit)
            embedding.write_projector(self._folder(run), examples.means(run.trained), examples)
        if self._hparams is not None:
            with self._open().as_default():
                hparams.write_success()
        self._close()

    def on_exception(self, run: RunView, error: BaseException) -> None:  # noqa: ARG002
        """Close the logs."""
        self._close()

    def _describe(self, run: RunView) -> None:
        with self._open().as_default():
            if self._config:
                tf.summary.text("config", f"```toml\n{self._config}```", step=0)
            if self._hparams is not None:
                hparams.write_start(self._hparams, str(run.directory))
            if self._graph:
                graph.write_graph(run.trained.model, classes=run.trained.classes)

    def _write_scalars(self, record: Record) -> None:
        scalars.write_scalars(record.scalars, record.step)
        scalars.write_kl_dimensions(record.kl_per_dimension, record.step)

    def _shown(self, run: RunView) -> Examples:
        if self._examples is None:
            self._examples = Examples.held_out(run.trained, run.dataset, self._limit)
        return self._examples

    def _open(self) -> tf.summary.SummaryWriter:
        if self._writer is None:
            raise RuntimeError("TensorBoard.on_start must be called before its first record")
        return self._writer

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @staticmethod
    def _folder(run: RunView) -> Path:
        return run.directory / FOLDER
