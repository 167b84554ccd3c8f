"""Starts a run, or goes on with one."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.callbacks.build import build_callbacks
from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.data.sets import Folders
from vaeflow.distributed.job.job import Job
from vaeflow.distributed.job.stop_signals import stop_requests
from vaeflow.errors import PluginError, UsageError, VaeflowError
from vaeflow.plugins.registry import Registry
from vaeflow.runtime.console import say
from vaeflow.training.agreement import FirstMeeting
from vaeflow.training.elastic import Members
from vaeflow.training.provenance.record import Provenance
from vaeflow.training.run_files.directory import RunDirectory
from vaeflow.training.session import Session
from vaeflow.training.setup import load, rejoin, start

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaeflow.callbacks.group import Called
    from vaeflow.config.resolve import Resolved
    from vaeflow.training.experiment import Experiment


def run(
    find: Callable[[], Resolved],
    run_dir: Path | None,
    folders: Folders,
    *,
    dry_run: bool = False,
    resume: bool = False,
    accept_changes: bool = False,
) -> RunDirectory | None:
    """Train a config. All processes of a job call this; the chief alone writes.

    Args:
        find: returns the config and its components. Where it fails on one process of a job, all of them end.
        run_dir: the run's directory; None takes the next free one below `runs/`.
        folders: where data sets lie.
        dry_run: build everything, say how large it is, write nothing and take no step.
        resume: if the directory has this run already, resume it, or do nothing where it is finished.
        accept_changes: resume although code or data have changed, and let ranks differ in their environments.

    Returns:
        The run's directory; None for a dry run.

    Raises:
        UsageError: if the directory holds something else, or is in use; if ranks differ.
        VaeflowError: see its subclasses.
    """
    ready = _prepare(find, folders, accept_changes=accept_changes, dry_run=dry_run)
    if dry_run:
        from vaeflow.training.dry_run import describe

        say(describe(ready.resolved, ready.experiment))
        return None

    return _train(ready, Place(run_dir, may_have_begun=resume))


def resume(
    run_dir: Path,
    modules: Sequence[str] = (),
    *,
    settings: Sequence[str] = (),
    folders: Folders | None = None,
    accept_changes: bool = False,
) -> RunDirectory:
    """Resume a run from its newest valid checkpoint, on the same machines or others.

    Args:
        run_dir: the run's directory; every process of the job can read it.
        modules: plugins that are not installed, as --plugin names them.
        settings: `KEY=VALUE` below `strategy`: how replicas are run from now on.
        folders: where data sets lie.
        accept_changes: resume although config, code or data have changed, and let ranks differ in their environments.

    Raises:
        UsageError: if it is no run's directory, or in use, or a setting is not the strategy's; if what the run's bits
            depend on has changed, or ranks differ.
        CheckpointError: if no checkpoint is valid, or it fits another model.
    """

    def find() -> Resolved:
        return resolve_run(RunDirectory.open(run_dir), modules, _of_strategy(settings))

    ready = _prepare(find, folders or Folders.default(), accept_changes=accept_changes)

    return _train(ready, Place(run_dir, must_have_begun=True))


@dataclass(frozen=True)
class Place:
    """Where a run is to be.

    Attributes:
        path: its directory; None takes the next free one below `runs/`.
        may_have_begun: whether a run that is there already is resumed.
        must_have_begun: whether it must be there.
    """

    path: Path | None
    may_have_begun: bool = False
    must_have_begun: bool = False


@dataclass(frozen=True)
class Ready:
    """What a process of a job trains with.

    Attributes:
        resolved: the config and its components.
        experiment: what trains.
        record: what the bits depend on.
        accept_changes: whether that may have changed since the newest checkpoint.
    """

    resolved: Resolved
    experiment: Experiment
    record: Provenance
    accept_changes: bool


def _prepare(find: Callable[[], Resolved], folders: Folders, *, accept_changes: bool, **command: bool) -> Ready:
    """Look up components, load data, agree with the other ranks, then start TensorFlow and join them."""
    with FirstMeeting(accept_changes=accept_changes, **command) as meeting:
        resolved = find()
        meeting.record = Provenance.of(resolved)
        if resolved.config.init_from is not None:
            _require_weights(Path(resolved.config.init_from))
        topology = resolved.strategy.build()
        dataset, record = load(resolved, folders, topology, meeting)
    experiment, record = start(resolved, dataset, topology, record, accept_changes=accept_changes)
    return Ready(resolved, experiment, record, accept_changes)


def resolve_run(directory: RunDirectory, modules: Sequence[str], settings: Sequence[str] = ()) -> Resolved:
    """Return the config and the components of a run from the disk.

    Args:
        directory: of the run.
        modules: plugins that are not installed, as --plugin names them.
        settings: `KEY=VALUE` on top.

    Raises:
        UsageError: if they don't fit each other.
        PluginError: if a component is unknown; plugins that the run had and that are not there now are named.
    """
    registry = Registry.load(modules)
    composed = compose(directory.config, settings)
    try:
        return resolve(composed, registry)
    except UsageError as error:
        absent = directory.origins() - {str(loaded.origin) for loaded in registry.loaded}
        if not absent:
            raise
        were = ", ".join(sorted(absent))
        raise PluginError(
            f"{error}. The run was made with {were}, which is not there now: install it, or name its module by --plugin"
        ) from error


def _train(ready: Ready, place: Place) -> RunDirectory:
    """Train to the end with the processes that are there, and again with those that are there then."""
    members, current = Members(), ready
    joined, why, said = True, "", True
    while True:
        try:
            if not joined:
                current, joined = _rejoined(ready), True
                if not said:  # by rank 0 of before, which is gone
                    say(f"{why}; the others have met again")
            return _train_together(current, place, members)
        except Exception as error:
            if not members.survives(error):
                raise
            why, said = str(error), Job.current().rank == 0
            say(f"{why}; the others meet again")
        members.forget()
        if joined:
            current.experiment.strategy.close()
        joined = False


def _rejoined(ready: Ready) -> Ready:
    accept, dataset = ready.accept_changes, ready.experiment.dataset
    experiment, record = rejoin(ready.resolved, dataset, ready.record, accept_changes=accept)
    return replace(ready, experiment=experiment, record=record)


def _train_together(ready: Ready, place: Place, members: Members) -> RunDirectory:
    """Claim the directory, restore or begin, train, summarise, leave."""
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
            callbacks.extend(build_callbacks(ready.resolved))  # before the disk is touched: a plugin's may fail
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
        )
        if snapshot is not None:
            session.resume_from(snapshot)
        elif begun:
            session.resume()
        else:
            session.begin()
    return session.directory


def _claimed(place: Place, ready: Ready, stack: contextlib.ExitStack) -> tuple[RunDirectory, bool]:
    """Return the run's directory, locked until the stack is closed, and whether its run has begun."""
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


def _require_weights(source: Path) -> None:
    """Look before any device starts. On a job's other ranks the disk may be another: rank 0 alone reads it."""
    if Job.current().rank == 0:
        try:
            RunDirectory.open(source)
        except VaeflowError as error:
            raise type(error)(f"init_from: {error}") from error


def _of_strategy(settings: Sequence[str]) -> Sequence[str]:
    for setting in settings:
        key = setting.partition("=")[0]
        if key.partition(".")[0] != "strategy":
            raise UsageError(f"{key}: a run goes on with the config it was started with; only strategy may change")
    return settings
