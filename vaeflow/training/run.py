"""Start or resume a run."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.callbacks.build import build_callbacks
from vaeflow.data.sets import Folders
from vaeflow.distributed.job.job import Job
from vaeflow.distributed.job.stop_signals import stop_requests
from vaeflow.runtime.console import say
from vaeflow.training.agreement import FirstMeeting
from vaeflow.training.elastic import Members
from vaeflow.training.existing import of_strategy, resolve_run
from vaeflow.training.init_from import require_source
from vaeflow.training.outcome import options_again
from vaeflow.training.provenance.record import Provenance
from vaeflow.training.run_files.directory import RunDirectory
from vaeflow.training.session import Session
from vaeflow.training.setup import load, rejoin, start

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from vaeflow.callbacks.group import Called
    from vaeflow.config.resolve import Resolved
    from vaeflow.config.sources import Overrides
    from vaeflow.plugins.discovery import Plugin
    from vaeflow.training.experiment import Experiment
    from vaeflow.training.loop import Epoch


def run(
    find: Callable[[], Resolved],
    run_dir: Path | None,
    folders: Folders,
    *,
    dry_run: bool = False,
    resume: bool = False,
    accept_changes: bool = False,
    observers: tuple[Called, ...] = (),
) -> RunDirectory | None:
    """Train a config. All processes of a job call this; only rank 0 writes files.

    Args:
        find: returns the config and its components. If it fails on one process of a job, all processes end.
        run_dir: the run's directory; None creates the next free one below `runs/`.
        folders: of data sets.
        dry_run: build everything and print its size; do not write or train.
        resume: if the directory contains this run, resume it, or do nothing if it is finished.
        accept_changes: resume even if code or data have changed, and allow environments to differ between ranks.
        observers: callbacks beside those of the config, on rank 0; they don't change the run.

    Returns:
        The run's directory; None for a dry run.

    Raises:
        UsageError: if the directory contains something else or is in use, or if ranks differ.
        VaeflowError: see its subclasses.
    """
    ready = prepare(find, folders, accept_changes=accept_changes, observers=observers, dry_run=dry_run)
    if dry_run:
        from vaeflow.training.dry_run import describe

        say(describe(ready.resolved, ready.experiment))
        return None

    return to_the_end(epochs(ready, Place(run_dir, may_have_begun=resume)))


def resume(
    run_dir: Path,
    modules: Sequence[Plugin] = (),
    *,
    settings: Overrides = (),
    folders: Folders | None = None,
    accept_changes: bool = False,
    observers: tuple[Called, ...] = (),
) -> RunDirectory:
    """Resume a run from its newest valid checkpoint, on the same machines or others.

    Args:
        run_dir: the run's directory; every process of the job must be able to read it.
        modules: plugins that are not installed, see `Registry.load`.
        settings: settings of `strategy`, which may differ from the original run.
        folders: of data sets.
        accept_changes: resume even if config, code or data have changed, and allow environments to differ between
            ranks.
        observers: as for `run`.

    Raises:
        UsageError: if it is not the directory of a run or is in use; if a setting is not one of the strategy; if
            config, code or data have changed; or if ranks differ.
        CheckpointError: if no checkpoint is valid, or it is one of another model.
    """

    def find() -> Resolved:
        return resolve_run(RunDirectory.open(run_dir), modules, of_strategy(settings))

    ready = prepare(find, folders or Folders.default(), accept_changes=accept_changes, observers=observers)

    return to_the_end(epochs(ready, Place(run_dir, must_have_begun=True)))


@dataclass(frozen=True)
class Place:
    """The directory of a run, and whether the run may or must exist.

    Attributes:
        path: the directory; None creates the next free one below `runs/`.
        may_have_begun: whether an existing run is resumed.
        must_have_begun: whether the run must exist.
    """

    path: Path | None
    may_have_begun: bool = False
    must_have_begun: bool = False


@dataclass(frozen=True)
class Ready:
    """The objects that a process of a job trains with.

    Attributes:
        resolved: the config and its components.
        experiment: the objects of the run.
        record: the provenance record.
        accept_changes: whether the record may differ from that of the newest checkpoint.
        observers: callbacks beside those of the config, on rank 0.
        options: that other commands on the run need.
    """

    resolved: Resolved
    experiment: Experiment
    record: Provenance
    accept_changes: bool
    options: Sequence[str]
    observers: tuple[Called, ...] = ()


def prepare(
    find: Callable[[], Resolved],
    folders: Folders,
    *,
    accept_changes: bool = False,
    observers: tuple[Called, ...] = (),
    **command: bool,
) -> Ready:
    """Look up components, load data, compare records with the other ranks, then start TensorFlow and the strategy.

    Args:
        find: returns the config and its components.
        folders: of data sets.
        accept_changes: as for `run`.
        observers: callbacks beside those of the config.
        command: further options that must be equal on all ranks.
    """
    with FirstMeeting(accept_changes=accept_changes, **command) as meeting:
        resolved = find()
        meeting.record = Provenance.of(resolved)
        if resolved.config.init_from is not None:
            require_source(Path(resolved.config.init_from))
        topology = resolved.strategy.build()
        dataset, record = load(resolved, folders, topology, meeting)
    experiment, record = start(resolved, dataset, topology, record, accept_changes=accept_changes)
    return Ready(resolved, experiment, record, accept_changes, options_again(resolved, folders), observers)


def to_the_end(training: Generator[Epoch, None, RunDirectory]) -> RunDirectory:
    """Train to the end and return the run's directory."""
    while True:
        try:
            next(training)
        except StopIteration as end:
            return end.value


def epochs(ready: Ready, place: Place) -> Generator[Epoch, None, RunDirectory]:
    """Train to the end and yield after each epoch; return the run's directory.

    In an elastic job, the current workers re-form the job after each change.
    """
    members, current = Members(), ready
    joined, why, said = True, "", True
    while True:
        try:
            if not joined:
                current, joined = _rejoined(ready), True
                if not said:  # the previous rank 0, which should have printed it, is gone
                    say(f"{why}; the remaining workers re-formed the job")
            return (yield from _train_together(current, place, members))
        except Exception as error:
            if not members.survives(error):
                raise
            why, said = str(error), Job.current().rank == 0
            say(f"{why}; the remaining workers re-form the job")
        members.clear_changes()
        if joined:
            current.experiment.strategy.close()
        joined = False


def _rejoined(ready: Ready) -> Ready:
    accept, dataset = ready.accept_changes, ready.experiment.dataset
    experiment, record = rejoin(ready.resolved, dataset, ready.record, accept_changes=accept)
    return replace(ready, experiment=experiment, record=record)


def _train_together(ready: Ready, place: Place, members: Members) -> Generator[Epoch, None, RunDirectory]:
    """Lock the directory, start or restore the run, train, and summarise."""
    from vaeflow.distributed.strategies.processes import Processes

    processes = Processes(ready.experiment.strategy)
    callbacks: list[Called] = []
    members.listen()
    snapshot = members.share(processes)
    members.record = ready.record.to_json()
    if snapshot is not None:
        place = Place(Path(snapshot.directory), must_have_begun=True)
    with contextlib.ExitStack() as stack:
        request = stack.enter_context(stop_requests())

        def claim() -> list[Any]:
            # before anything is written: a plugin may fail
            callbacks.extend([*build_callbacks(ready.resolved), *ready.observers])
            directory, begun = _claimed(place, ready, stack)
            return [str(directory.path), begun]

        path, begun = processes.on_chief(claim)
        session = Session(
            directory=RunDirectory(Path(path)),
            resolved=ready.resolved,
            experiment=ready.experiment,
            record=ready.record,
            accept_changes=ready.accept_changes,
            processes=processes,
            callbacks=callbacks,
            members=members,
            request=request,
            options=ready.options,
        )
        if snapshot is not None:
            yield from session.resume_from(snapshot)
        elif begun:
            yield from session.resume()
        else:
            yield from session.begin()
    return session.directory


def _claimed(place: Place, ready: Ready, stack: contextlib.ExitStack) -> tuple[RunDirectory, bool]:
    """Return the run's directory, locked until the stack is closed, and whether its run exists."""
    if place.must_have_begun and place.path is not None:
        directory = RunDirectory.open(place.path)
        stack.enter_context(directory.locked())
        return directory, True
    claimed = RunDirectory.claimed(place.path, ready.resolved.config.name, resume=place.may_have_begun)
    directory, begun = stack.enter_context(claimed)
    if begun:
        directory.require_same(ready.resolved)
    else:
        directory.describe(ready.resolved, ready.experiment.strategy, ready.record)
    return directory, begun
