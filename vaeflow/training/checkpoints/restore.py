"""Puts an experiment where a checkpoint says, unless what its bits depend on has changed since."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vaeflow.config.resolve import to_toml
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
    from vaeflow.config.schema import Config
    from vaeflow.training.checkpoints.folder import CheckpointFolder, Progress
    from vaeflow.training.experiment import Experiment
    from vaeflow.training.run_files.directory import RunDirectory

PROVENANCE = "provenance.json"
"""The file of a checkpoint that holds the record of what its bits depend on."""

OF_MODEL = ("encoder", "decoder", "posterior", "prior", "likelihood")
"""The components that a model is built of."""

OF_FIGURES = ("dataset", "binarization", *OF_MODEL)
"""The components, beside transforms and metrics, whose code a trained model's figures depend on."""


def checkpoints(
    directory: RunDirectory,
    config: Config,
    record: Provenance | None = None,
    *,
    tell: Callable[[str], None] = say,
) -> CheckpointFolder:
    """Return the checkpoints of a run.

    Args:
        directory: of the run.
        config: the run's.
        record: what the bits depend on; each checkpoint that is saved holds it.
        tell: prints one line for people.
    """
    from vaeflow.training.checkpoints.folder import CheckpointFolder

    texts = {CONFIG: to_toml(config)} | ({} if record is None else {PROVENANCE: record.to_json()})
    keep = config.checkpoint.keep
    return CheckpointFolder(directory.checkpoints, keep=keep, say=tell, texts=texts, beside=directory.config)


def restore_to_train(
    directory: RunDirectory, resolved: Resolved, experiment: Experiment, record: Provenance, *, accept_changes: bool
) -> Progress:
    """Put an experiment where the newest valid checkpoint of a run says, to resume it.

    Args:
        directory: of the run.
        resolved: the config and its components.
        experiment: what is changed.
        record: what the bits depend on now.
        accept_changes: whether config, code and data may have changed.

    Returns:
        How far the run is, and what has changed up to there.

    Raises:
        CheckpointError: if there is no valid checkpoint, or it is another model's.
        UsageError: if config, code or data have changed, and nobody accepts that.
    """
    folder = checkpoints(directory, resolved.config)
    arrays, progress = folder.latest()
    before = _record_of(folder, progress)
    found = changes(before, record, resolved.config, length_matters=experiment.length_matters)
    step = progress.step
    if found.serious and not accept_changes:
        raise UsageError(
            f"{directory.path}: since the checkpoint of step {step} was saved, {found.listed}. The weights would "
            "belong to no config. Put it back as it was, or resume with --accept-changes, which the run records"
        )
    experiment.state.assign(arrays)
    for line in found.harmless:
        say(f"since the checkpoint of step {step}: {line}; no weight depends on it")
    if found.serious:
        say(f"warning: accepted by --accept-changes: since the checkpoint of step {step}, {found.listed}")
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
    """Put an experiment where a checkpoint of a run says, to evaluate it or to draw from it.

    Args:
        directory: of the run.
        resolved: the config and its components.
        experiment: what is changed.
        record: what the figures depend on now.
        best: take the best checkpoint, not the newest valid one.
        accept_changes: whether config, code and data may have changed.

    Raises:
        CheckpointError: if there is no such checkpoint, or it is another model's.
        UsageError: if config, code or data have changed, and nobody accepts that.
    """
    folder = checkpoints(directory, resolved.config, tell=warn)
    arrays, progress = folder.best() if best else folder.latest()
    behind = [getattr(resolved, key) for key in OF_FIGURES]
    packages = packages_of([*behind, *resolved.transforms, *resolved.metrics])
    before = _record_of(folder, progress)
    found = changes(before, record, resolved.config, packages, length_matters=experiment.length_matters)
    if found.serious and not accept_changes:
        raise UsageError(
            f"{directory.path}: since the checkpoint of step {progress.step} was saved, {found.listed}. Its figures "
            "would belong to no run. Put it back as it was, or give --accept-changes"
        )
    experiment.state.assign(arrays)
    return progress


def weights_of(
    source: RunDirectory, resolved: Resolved, record: Provenance
) -> tuple[Mapping[str, np.ndarray], Progress]:
    """Return the newest arrays of another run, whose weights this one starts from; say how the models differ.

    Args:
        source: the other run's directory.
        resolved: the config and its components.
        record: what this run's bits depend on.

    Raises:
        CheckpointError: if there is no valid checkpoint.
    """
    folder = checkpoints(source, resolved.config)
    arrays, progress = folder.latest()
    packages = packages_of(getattr(resolved, key) for key in OF_MODEL)
    for one in differences(_record_of(folder, progress), record):
        of_model = one.part == "config" and one.key.partition(".")[0] in (*OF_MODEL, "binarization")
        if of_model or (one.part == "code" and one.key in packages and None not in one.values):
            there, here = one.values
            what = f"{one.name} was {there!r} and is {here!r} now"
            say(f"warning: init_from: the weights of {source.path} are another model's: {what}")
    return arrays, progress


def with_changes(progress: Progress, found: Changes) -> Progress:
    """Return a progress that knows what has changed; say what that may do to the bits."""
    if found.environment:
        changed = "; ".join(found.environment)
        say(f"from here on the weights may differ, bit for bit, from an uninterrupted run's: {changed}")
    lines = [f"step {progress.step}: {line}" for line in (*found.serious, *found.environment)]
    return replace(progress, changes=[*progress.changes, *lines])


def _record_of(folder: CheckpointFolder, progress: Progress) -> Provenance:
    """Return the record that a checkpoint holds: it counts, not what stands beside the checkpoints."""
    place = f"the checkpoint of step {progress.step}"
    text = folder.text_of(progress, PROVENANCE)
    if text is None:
        raise CheckpointError(f"{place} has no {PROVENANCE}: what its weights belong to is not known")
    return Provenance.from_tree(parse_json(text, f"{place}: {PROVENANCE}"))
