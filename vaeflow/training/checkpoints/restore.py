"""Restore an experiment from a checkpoint, unless config, code or data have changed since."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vaeflow.errors import CheckpointError, UsageError
from vaeflow.files.read import parse_json
from vaeflow.runtime.console import say, warn
from vaeflow.training.provenance.changes import Changes, changes
from vaeflow.training.provenance.code import packages_of
from vaeflow.training.provenance.record import Provenance, differences
from vaeflow.training.run_files.names import CONFIG

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from vaeflow.config.resolve import Resolved
    from vaeflow.training.checkpoints.folder import CheckpointFolder, Progress
    from vaeflow.training.experiment import Experiment
    from vaeflow.training.run_files.directory import RunDirectory

PROVENANCE = "provenance.json"
"""The file of a checkpoint with its provenance record."""

OF_MODEL = ("model", "encoder", "decoder", "posterior", "prior", "likelihood")
"""Config keys of the components that make up a model."""

OF_FIGURES = ("dataset", "binarization", *OF_MODEL)
"""Config keys of the components, besides transforms and metrics, that determine a trained model's metrics."""


def checkpoints(
    directory: RunDirectory,
    resolved: Resolved,
    record: Provenance | None = None,
    *,
    tell: Callable[[str], None] = say,
) -> CheckpointFolder:
    """Return the checkpoints of a run.

    Args:
        directory: of the run.
        resolved: the config and its components.
        record: the provenance record, which each new checkpoint stores.
        tell: prints one line.
    """
    from vaeflow.training.checkpoints.folder import CheckpointFolder

    texts = {CONFIG: resolved.to_toml()} | ({} if record is None else {PROVENANCE: record.to_json()})
    keep = resolved.config.checkpoint.keep
    return CheckpointFolder(directory.checkpoints, keep=keep, say=tell, texts=texts, beside=directory.config)


def restore_to_train(
    directory: RunDirectory, resolved: Resolved, experiment: Experiment, record: Provenance, *, accept_changes: bool
) -> Progress:
    """Restore the newest valid checkpoint of a run, to resume training.

    Args:
        directory: of the run.
        resolved: the config and its components.
        experiment: its state is replaced.
        record: the current provenance record.
        accept_changes: whether config, code and data may have changed.

    Returns:
        The progress of the run, including changes so far. For a finished run, these are the checkpoint's.

    Raises:
        CheckpointError: if there is no valid checkpoint, or it is one of another model.
        UsageError: if config, code or data have changed and `accept_changes` is not set.
    """
    folder = checkpoints(directory, resolved)
    arrays, progress = folder.latest()
    before = _record_of(folder, progress)
    found = changes(before, record, resolved.config, length_matters=experiment.length_matters)
    step = progress.step
    if found.serious and not accept_changes:
        raise UsageError(
            f"{directory.path}: since the checkpoint of step {step} was saved, {found.listed}. The weights would no "
            "longer follow from one config. Undo the change, or resume with --accept-changes, which the run records"
        )
    experiment.state.assign(arrays)
    for line in found.harmless:
        say(f"since the checkpoint of step {step}: {line}; it does not affect the weights")
    if found.serious:
        say(f"warning: accepted by --accept-changes: since the checkpoint of step {step}, {found.listed}")
    if progress.is_final(experiment.timeline.total_steps):
        return progress  # no step is left that a change could affect
    return with_changes(progress, found)


def restore_to_read(
    directory: RunDirectory,
    resolved: Resolved,
    experiment: Experiment,
    record: Provenance,
    *,
    best: bool = False,
    accept_changes: bool = False,
) -> Progress:
    """Restore a checkpoint of a run, to evaluate the model or to sample from it.

    Args:
        directory: of the run.
        resolved: the config and its components.
        experiment: its state is replaced.
        record: the current provenance record.
        best: use the best checkpoint instead of the newest valid one.
        accept_changes: whether config, code and data may have changed.

    Raises:
        CheckpointError: if there is no such checkpoint, or it is one of another model.
        UsageError: if config, code or data have changed and `accept_changes` is not set.
    """
    folder = checkpoints(directory, resolved, tell=warn)
    arrays, progress = folder.best() if best else folder.latest()
    behind = [getattr(resolved, key) for key in OF_FIGURES]
    packages = packages_of([*behind, *resolved.transforms, *resolved.metrics])
    before = _record_of(folder, progress)
    found = changes(before, record, resolved.config, packages, length_matters=experiment.length_matters)
    if found.serious and not accept_changes:
        raise UsageError(
            f"{directory.path}: since the checkpoint of step {progress.step} was saved, {found.listed}. The metrics "
            "would not be those of the run. Undo the change, or use --accept-changes"
        )
    experiment.state.assign(arrays)
    return progress


def weights_of(
    source: RunDirectory, resolved: Resolved, record: Provenance
) -> tuple[Mapping[str, np.ndarray], Progress]:
    """Return the newest arrays of another run, to start from its weights; print how the models differ.

    Args:
        source: the other run's directory.
        resolved: the config and its components.
        record: the provenance record of this run.

    Raises:
        CheckpointError: if there is no valid checkpoint.
    """
    folder = checkpoints(source, resolved)
    arrays, progress = folder.latest()
    packages = packages_of(getattr(resolved, key) for key in OF_MODEL)
    for one in differences(_record_of(folder, progress), record):
        of_model = one.part == "config" and one.key.partition(".")[0] in (*OF_MODEL, "condition", "binarization")
        if of_model or (one.part == "code" and one.key in packages and None not in one.values):
            there, here = one.values
            what = f"{one.name} was {there!r} and is {here!r} now"
            say(f"warning: init_from: the weights of {source.path} are from another model: {what}")
    return arrays, progress


def with_changes(progress: Progress, found: Changes) -> Progress:
    """Return a progress that records changes; print those that may affect the bits."""
    if found.environment:
        changed = "; ".join(found.environment)
        say(f"from now on the weights may differ, bit for bit, from those of an uninterrupted run: {changed}")
    lines = [f"step {progress.step}: {line}" for line in (*found.serious, *found.environment)]
    return replace(progress, changes=[*progress.changes, *lines])


def _record_of(folder: CheckpointFolder, progress: Progress) -> Provenance:
    """Return the record of a checkpoint, which is used instead of files next to the checkpoints."""
    place = f"the checkpoint of step {progress.step}"
    text = folder.text_of(progress, PROVENANCE)
    if text is None:
        raise CheckpointError(f"{place} has no {PROVENANCE}: the config, code and data of its weights are unknown")
    return Provenance.from_tree(parse_json(text, f"{place}: {PROVENANCE}"))
