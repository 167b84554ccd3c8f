"""Starts a run, or goes on with one."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.callbacks.build import build_callbacks
from vaeflow.config_layers import compose
from vaeflow.config_resolve import resolve
from vaeflow.data import Folders
from vaeflow.elastic import Members
from vaeflow.errors import PluginError, UsageError, VaeflowError
from vaeflow.job import Job
from vaeflow.plugins.registry import Registry
from vaeflow.run_directory import RunDirectory
from vaeflow.session import Session
from vaeflow.signals import stop_requests
from vaeflow.start import prepare, rejoin, say

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vaeflow.callbacks.group import Called
    from vaeflow.config_resolve import Resolved
    from vaeflow.experiment import Experiment

    Claim = Callable[[contextlib.ExitStack], tuple[RunDirectory, bool]]


def run(
    resolved: Resolved, run_dir: Path | None, folders: Folders, *, dry_run: bool = False, go_on: bool = False
) -> RunDirectory | None:
    """Train a config. All processes of a job call this; the chief alone writes.

    Args:
        resolved: the config and its components.
        run_dir: the run's directory; None takes the next free one below `runs/`.
        folders: where data sets lie.
        dry_run: build everything, say how large it is, write nothing and take no step.
        go_on: if the directory has this run already, go on with it, or do nothing where it is finished.

    Returns:
        The run's directory; None for a dry run.

    Raises:
        UsageError: if the directory holds something else, or is in use.
        VaeflowError: see its subclasses.
    """
    if resolved.config.init_from is not None:
        _require_weights(Path(resolved.config.init_from))
    experiment = prepare(resolved, folders)
    if dry_run:
        from vaeflow.dry_run import describe

        say(describe(resolved, experiment))
        return None

    def claim(stack: contextlib.ExitStack) -> tuple[RunDirectory, bool]:
        claimed = RunDirectory.claimed(run_dir, resolved.config.name, go_on=go_on)
        directory, begun = stack.enter_context(claimed)
        if begun:
            directory.require_same(resolved)
        else:
            directory.describe(resolved, experiment.strategy)
        return directory, begun

    return _train(resolved, experiment, claim)


def resume(
    run_dir: Path,
    modules: Sequence[str] = (),
    *,
    settings: Sequence[str] = (),
    folders: Folders | None = None,
) -> RunDirectory:
    """Go on with a run from its newest valid checkpoint, on the same machines or others.

    Args:
        run_dir: the run's directory; every process of the job can read it.
        modules: plugins that are not installed, as --plugin names them.
        settings: `KEY=VALUE` below `strategy`: how replicas are run from now on.
        folders: where data sets lie.

    Raises:
        UsageError: if it is no run's directory, or in use, or a setting is not the strategy's.
        CheckpointError: if no checkpoint is valid, or it fits another model.
    """
    directory = RunDirectory.open(run_dir)
    resolved = resolve_run(directory, modules, _of_strategy(settings))

    def claim(stack: contextlib.ExitStack) -> tuple[RunDirectory, bool]:
        stack.enter_context(directory.locked())
        return directory, True

    return _train(resolved, prepare(resolved, folders or Folders.default()), claim)


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


def _train(resolved: Resolved, experiment: Experiment, claim: Claim) -> RunDirectory:
    """Train to the end with the processes that are there, and again with those that are there then."""
    members, dataset = Members(), experiment.dataset
    joined: Experiment | None = experiment
    why, said = "", True
    while True:
        try:
            if joined is None:
                joined = rejoin(resolved, dataset)
                if not said:  # by rank 0 of before, which is gone
                    say(f"{why}; the others have met again")
            return _train_together(resolved, joined, claim, members)
        except Exception as error:
            if not members.survives(error):
                raise
            why, said = str(error), Job.current().rank == 0
            say(f"{why}; the others meet again")
        members.forget()
        if joined is not None:
            joined.strategy.close()
        joined = None


def _train_together(resolved: Resolved, experiment: Experiment, claim: Claim, members: Members) -> RunDirectory:
    from vaeflow.engine.processes import Processes

    processes = Processes(experiment.strategy)
    callbacks: list[Called] = []
    members.listen()
    snapshot = members.share(processes)
    with contextlib.ExitStack() as stack:
        request = stack.enter_context(stop_requests())

        def begin() -> str:
            callbacks.extend(build_callbacks(resolved))  # before the disk is touched: a plugin's may fail
            if snapshot is None:
                directory, begun = claim(stack)
            else:
                directory, begun = RunDirectory.open(Path(snapshot.directory)), True
                stack.enter_context(directory.locked())
            return json.dumps([str(directory.path), begun])

        path, begun = json.loads(processes.on_chief(begin))
        session = Session(RunDirectory(Path(path)), resolved, experiment, processes, callbacks, members, request)
        if snapshot is not None:
            session.take_over(snapshot)
        elif begun:
            session.go_on()
        else:
            session.begin()
    return session.directory


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
