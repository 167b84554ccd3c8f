"""Starts a run, or goes on with one."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from vaeflow.callbacks import RunView
from vaeflow.callbacks.metrics_log import MetricsLog
from vaeflow.callbacks.progress import ProgressBar
from vaeflow.config_layers import compose
from vaeflow.config_resolve import resolve
from vaeflow.data import Folders
from vaeflow.plugins.registry import Registry
from vaeflow.run_directory import RunDirectory, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vaeflow.callbacks import Callback
    from vaeflow.config import Config
    from vaeflow.config_resolve import Resolved
    from vaeflow.engine.checkpoint import CheckpointFolder, Progress
    from vaeflow.experiment import Experiment
    from vaeflow.loop import Loop


def say(line: str) -> None:
    """Print one line for people, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(line)


def run(resolved: Resolved, run_dir: Path | None, folders: Folders, *, dry_run: bool = False) -> RunDirectory | None:
    """Train a config in a new directory.

    Args:
        resolved: the config and its components.
        run_dir: the run's directory; None takes the next free one below `runs/`.
        folders: where data sets lie.
        dry_run: build everything, say how large it is, write nothing and take no step.

    Returns:
        The run's directory; None for a dry run.

    Raises:
        VaeflowError: see its subclasses.
    """
    experiment = prepare(resolved, folders)
    if dry_run:
        from vaeflow.dry_run import describe

        say(describe(resolved, experiment))
        return None
    from vaeflow.engine.checkpoint import Progress

    callbacks = _callbacks(resolved)
    directory = RunDirectory.create(run_dir, resolved.config.name)
    with directory.locked():
        directory.describe(resolved)
        _fit(directory, resolved, experiment, callbacks, Progress())
    return directory


def resume(run_dir: Path, modules: Sequence[str] = (), *, folders: Folders | None = None) -> RunDirectory:
    """Go on with a run from its newest checkpoint that is whole.

    Args:
        run_dir: the run's directory.
        modules: plugins that are not installed, as --plugin names them.
        folders: where data sets lie.

    Raises:
        UsageError: if it is no run's directory, or in use.
        CheckpointError: if no checkpoint is whole, or it fits another model.
    """
    directory = RunDirectory.open(run_dir)
    with directory.locked():
        resolved = resolve(compose(directory.config), Registry.load(modules))
        experiment = prepare(resolved, folders or Folders.default())
        progress, total = restore(directory, experiment), experiment.timeline.total_steps
        if directory.summary.exists() and progress.step >= total:
            say(f"{run_dir}: finished already, at step {total} of {total}; nothing was changed")
            return directory
        say(f"{run_dir}: going on from step {progress.step} of {total}")
        _fit(directory, resolved, experiment, _callbacks(resolved), progress)
    return directory


def restore(directory: RunDirectory, experiment: Experiment) -> Progress:
    """Put an experiment where the newest checkpoint of a run that is whole says.

    Raises:
        CheckpointError: if there is none, or it is another model's.
    """
    arrays, progress = _checkpoints(directory, experiment.config).latest()
    experiment.state.assign(arrays)
    return progress


def prepare(resolved: Resolved, folders: Folders, *, to_train: bool = True) -> Experiment:
    """Load the data, start TensorFlow and build an experiment.

    Args:
        resolved: the config and its components.
        folders: where data sets lie.
        to_train: fix threads and graph rewrites, on which the bits of training depend.

    Raises:
        VaeflowError: if the data can't be had, or components don't fit them or each other.
    """
    from vaeflow.runtime import Runtime, start_tensorflow
    from vaeflow.threads import threads_of

    dataset = resolved.dataset.build(folders)  # before TensorFlow's seconds: what is wrong is mostly wrong here
    start_tensorflow(Runtime(threads=threads_of(resolved.config)) if to_train else None)
    from vaeflow.experiment import build

    return build(resolved, dataset)


def _fit(
    directory: RunDirectory,
    resolved: Resolved,
    experiment: Experiment,
    callbacks: Sequence[Callback],
    progress: Progress,
) -> None:
    from vaeflow.loop import Loop

    view = RunView(
        directory=directory.path,
        config=resolved.config,
        dataset=experiment.dataset,
        trained=experiment.trained,
        first_step=progress.step,
        total_steps=experiment.timeline.total_steps,
        steps_per_epoch=experiment.timeline.steps_per_epoch,
        say=say,
    )
    callbacks = callbacks if experiment.strategy.chief else []
    loop = Loop(experiment, view, callbacks, _checkpoints(directory, resolved.config), progress)
    try:
        loop.run()
    except BaseException as error:
        for callback in callbacks:
            with contextlib.suppress(Exception):  # on a full disk, say: what went wrong first is what counts
                callback.on_exception(view, error)
        raise
    _summarise(directory, resolved, loop)


def _callbacks(resolved: Resolved) -> list[Callback]:
    from vaeflow.callbacks.plots import Plots

    log = resolved.config.log
    built: list[Callback] = [ProgressBar(), MetricsLog()]
    if log.tensorboard:
        from vaeflow.callbacks.tensorboard import TensorBoard

        built.append(
            TensorBoard(histograms=log.histograms, images=log.images, projector=log.projector, graph=log.graph)
        )
    return [*built, Plots(every_epochs=resolved.config.plots.every_epochs), *(c.build() for c in resolved.callbacks)]


def _checkpoints(directory: RunDirectory, config: Config) -> CheckpointFolder:
    from vaeflow.engine.checkpoint import CheckpointFolder

    return CheckpointFolder(directory.checkpoints, keep=config.checkpoint.keep, say=say)


def _summarise(directory: RunDirectory, resolved: Resolved, loop: Loop) -> None:
    experiment, config = loop.experiment, resolved.config
    examples = loop.step // loop.view.steps_per_epoch * len(experiment.dataset.train)
    examples += loop.step % loop.view.steps_per_epoch * config.batch_size
    write_json(
        directory.summary,
        {
            "name": config.name,
            "seed": config.seed,
            "dataset": config.dataset.name,
            "binarization": config.binarization.name,
            "precision": config.precision,
            "steps": loop.step,
            "epochs": loop.step / loop.view.steps_per_epoch,
            "metrics": loop.metrics,
            "weights_sha256": experiment.state.weights_sha256(),
            "state_sha256": experiment.state.sha256(),
            "seconds": loop.seconds,
            "examples_per_second": examples / loop.seconds if loop.seconds else 0.0,
            "traces": experiment.trainer.traces,
        },
    )
