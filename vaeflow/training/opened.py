"""Open a run for reading, in one process or in those of a job."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from vaeflow.training.agreement import FirstMeeting
from vaeflow.training.existing import of_strategy, resolve_run
from vaeflow.training.run_files.directory import RunDirectory
from vaeflow.training.setup import prepare_to_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from vaeflow.data.sets import Folders
    from vaeflow.distributed.strategies.processes import Processes
    from vaeflow.plugins.discovery import Plugin
    from vaeflow.training.experiment import Experiment

ONE_DEVICE = ("strategy=single",)


class Opened(NamedTuple):
    """A run that is read.

    Attributes:
        experiment: with the weights of a checkpoint.
        processes: of the job.
        step: of the checkpoint.
    """

    experiment: Experiment
    processes: Processes
    step: int


@contextlib.contextmanager
def opened(
    run_dir: Path,
    folders: Folders,
    *,
    agreed: Mapping[str, Any],
    ahead: Callable[[], object] = lambda: None,
    best: bool = False,
    modules: Sequence[Plugin] = (),
    settings: Sequence[str] = ONE_DEVICE,
    accept_changes: bool = False,
) -> Iterator[Opened]:
    """Restore a run on all processes of a job; rank 0 alone reads the checkpoint.

    Args:
        run_dir: the run's directory.
        folders: of data sets.
        agreed: options that must be equal on all ranks.
        ahead: called before TensorFlow starts; if it fails on one rank, all end.
        best: use the best checkpoint instead of the newest.
        modules: plugins that are not installed.
        settings: `KEY=VALUE` below `strategy`.
        accept_changes: read it even if config, plugin code or data have changed since the checkpoint.

    Raises:
        UsageError: if there is no such run, or ranks differ.
        CheckpointError: if no checkpoint is valid.
    """
    with FirstMeeting(accept_changes=accept_changes, best=best, **agreed) as meeting:
        directory = RunDirectory.open(run_dir)
        resolved = resolve_run(directory, modules, of_strategy(settings))
        ahead()
        experiment, record = prepare_to_read(
            resolved, folders, topology=resolved.strategy.build(), meeting=meeting, accept_changes=accept_changes
        )
    from vaeflow.distributed.strategies.processes import Processes
    from vaeflow.training.checkpoints.restore import restore_to_read

    processes = Processes(experiment.strategy)

    def restored() -> int:
        return restore_to_read(directory, resolved, experiment, record, best=best, accept_changes=accept_changes).step

    with contextlib.closing(experiment.strategy):
        step = processes.on_chief(restored)
        processes.share(experiment.state.to_bytes, experiment.state.from_bytes)
        yield Opened(experiment, processes, step)
