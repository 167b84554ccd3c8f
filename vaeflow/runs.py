"""Starts a run, or goes on with one."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.callbacks import RunView
from vaeflow.callbacks.metrics_log import MetricsLog
from vaeflow.callbacks.progress import ProgressBar
from vaeflow.config_layers import compose
from vaeflow.config_resolve import resolve
from vaeflow.data import Folders
from vaeflow.errors import UsageError
from vaeflow.plugins.registry import Registry
from vaeflow.run_directory import RunDirectory, write_json
from vaeflow.start import prepare, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.callbacks import Callback
    from vaeflow.config import Config
    from vaeflow.config_resolve import Resolved
    from vaeflow.engine.checkpoint import CheckpointFolder, Progress
    from vaeflow.engine.processes import Processes
    from vaeflow.experiment import Experiment
    from vaeflow.loop import Loop


def run(resolved: Resolved, run_dir: Path | None, folders: Folders, *, dry_run: bool = False) -> RunDirectory | None:
    """Train a config in a new directory. All processes of a job call this; the chief alone writes.

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
    from vaeflow.engine.processes import Processes

    callbacks = _callbacks(resolved)
    processes = Processes(experiment.strategy)
    with contextlib.ExitStack() as stack:

        def begin() -> str:
            directory = RunDirectory.create(run_dir, resolved.config.name)
            stack.enter_context(directory.locked())
            directory.describe(resolved, experiment.strategy)
            return str(directory.path)

        directory = RunDirectory(Path(processes.on_chief(begin)))
        _Session(directory, resolved, experiment, processes).fit(callbacks, Progress())
    return directory


def resume(
    run_dir: Path,
    modules: Sequence[str] = (),
    *,
    settings: Sequence[str] = (),
    folders: Folders | None = None,
) -> RunDirectory:
    """Go on with a run from its newest checkpoint that is whole, on the same machines or others.

    Args:
        run_dir: the run's directory; every process of the job can read it.
        modules: plugins that are not installed, as --plugin names them.
        settings: `KEY=VALUE` below `strategy`: how replicas are run from now on.
        folders: where data sets lie.

    Raises:
        UsageError: if it is no run's directory, or in use, or a setting is not the strategy's.
        CheckpointError: if no checkpoint is whole, or it fits another model.
    """
    directory = RunDirectory.open(run_dir)
    resolved = resolve(compose(directory.config, _of_strategy(settings)), Registry.load(modules))
    with contextlib.ExitStack() as stack:
        experiment = prepare(resolved, folders or Folders.default())
        from vaeflow.engine.processes import Processes

        session = _Session(directory, resolved, experiment, Processes(experiment.strategy))
        session.processes.on_chief(lambda: str(stack.enter_context(directory.locked())))
        progress, total = session.restore(), experiment.timeline.total_steps
        if session.finished(progress):
            say(f"{run_dir}: finished already, at step {total} of {total}; nothing was changed")
            session.leave()
        else:
            say(f"{run_dir}: going on from step {progress.step} of {total}")
            session.describe_resumed(progress)
            session.fit(_callbacks(resolved), progress)
    return directory


def _of_strategy(settings: Sequence[str]) -> Sequence[str]:
    for setting in settings:
        key = setting.partition("=")[0]
        if key.partition(".")[0] != "strategy":
            raise UsageError(f"{key}: a run goes on with the config it was started with; only strategy may change")
    return settings


def restore(directory: RunDirectory, experiment: Experiment) -> Progress:
    """Put an experiment where the newest checkpoint of a run that is whole says.

    Raises:
        CheckpointError: if there is none, or it is another model's.
    """
    arrays, progress = _checkpoints(directory, experiment.config).latest()
    experiment.state.assign(arrays)
    return progress


@dataclass(frozen=True)
class _Session:
    """A run in this process, beside the others of its job."""

    directory: RunDirectory
    resolved: Resolved
    experiment: Experiment
    processes: Processes

    def restore(self) -> Progress:
        """Restore on the chief, and let the others have its state: they need not see its disk."""
        from vaeflow.engine.checkpoint import Progress

        restored = self.processes.on_chief(lambda: json.dumps(asdict(restore(self.directory, self.experiment))))
        self._share_state()
        return Progress(**json.loads(restored))

    def finished(self, progress: Progress) -> bool:
        """Say whether nothing is left to do."""
        summarised = self.processes.on_chief(lambda: "yes" if self.directory.summary.exists() else "no") == "yes"
        return summarised and progress.step >= self.experiment.timeline.total_steps

    def describe_resumed(self, progress: Progress) -> None:
        """Record where the run goes on, and say what changes its bits."""
        describe, strategy = self.directory.describe_resumed, self.experiment.strategy
        changed = self.processes.on_chief(lambda: "; ".join(describe(self.resolved, strategy, progress.step)))
        if changed:
            say(f"from here on the weights may differ, bit for bit, from an uninterrupted run's: {changed}")

    def fit(self, callbacks: Sequence[Callback], progress: Progress) -> None:
        """Train to the end. The chief alone calls back, saves and summarises."""
        from vaeflow.loop import Loop

        view = self._view(progress)
        callbacks = callbacks if self.processes.chief else []
        checkpoints = _checkpoints(self.directory, self.resolved.config)
        if self.processes.chief:
            checkpoints.clean()
        self._share_state()
        loop = Loop(self.experiment, view, callbacks, checkpoints, progress, self.processes)
        try:
            loop.run()
        except BaseException as error:
            for callback in callbacks:
                with contextlib.suppress(Exception):  # on a full disk, say: what went wrong first is what counts
                    callback.on_exception(view, error)
            raise
        if self.processes.chief:
            _summarise(self.directory, self.resolved, loop)
        self.leave()

    def leave(self) -> None:
        """End together: a process that ends early looks like one that died."""
        self.processes.barrier()
        self.experiment.strategy.close()

    def _share_state(self) -> None:
        if self.processes.count > 1:
            self.experiment.state.from_bytes(self.processes.broadcast(self.experiment.state.to_bytes()))

    def _view(self, progress: Progress) -> RunView:
        return RunView(
            directory=self.directory.path,
            config=self.resolved.config,
            dataset=self.experiment.dataset,
            trained=self.experiment.trained,
            first_step=progress.step,
            total_steps=self.experiment.timeline.total_steps,
            steps_per_epoch=self.experiment.timeline.steps_per_epoch,
            say=say,
        )


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
            "strategy": experiment.strategy.name,
            "replicas": experiment.strategy.replicas,
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
