"""Write the summary of a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaeflow.errors import FileError
from vaeflow.files.read import kind_of, read_json
from vaeflow.files.write import as_json, write_json

if TYPE_CHECKING:
    from vaeflow.config.resolve import Resolved
    from vaeflow.training.checkpoints.folder import Progress
    from vaeflow.training.experiment import Experiment
    from vaeflow.training.run_files.directory import RunDirectory


def summarise(directory: RunDirectory, resolved: Resolved, experiment: Experiment, progress: Progress) -> None:
    """Write summary.json.

    Args:
        directory: of the run.
        resolved: the config and its components.
        experiment: in the final state of the run.
        progress: of the run.
    """
    steps_per_epoch, seconds = experiment.timeline.steps_per_epoch, progress.seconds
    examples = progress.step // steps_per_epoch * len(experiment.dataset.train)
    examples += progress.step % steps_per_epoch * resolved.config.batch_size
    how = {
        "strategy": experiment.strategy.name,
        "replicas": experiment.strategy.replicas,
        "seconds": seconds,
        "examples_per_second": examples / seconds if seconds else 0.0,
        "traces": experiment.trainer.traces,
    }
    write_json(directory.summary, {**_results(resolved, experiment, progress), **how})


def settle(directory: RunDirectory, resolved: Resolved, experiment: Experiment, progress: Progress) -> str:
    """Write the summary of a finished run again if it can't be read, or belongs to another run or step.

    Args:
        directory: of the run.
        resolved: the config and its components.
        experiment: in the state of the newest checkpoint, which is the run's final one.
        progress: of that checkpoint.

    Returns:
        A text about what was done; an empty text if there is no summary, since the run was stopped before it was
        written.
    """
    if kind_of(directory.summary) is None:
        return ""
    reason = _flaw(directory, as_json(_results(resolved, experiment, progress)))
    lost = "" if kind_of(directory.metrics) is not None else f"; {directory.metrics.name} is missing"
    if reason is None:
        return f"nothing was changed{lost}"
    summarise(directory, resolved, experiment, progress)
    return f"its summary was written again from the newest checkpoint ({reason}){lost}"


def _flaw(directory: RunDirectory, results: dict[str, Any]) -> str | None:
    try:
        there = read_json(directory.summary)
    except FileError as error:
        return str(error)
    wrong = next((key for key in results if there.get(key) != results[key]), None)
    return f"{directory.summary}: {wrong} is wrong" if wrong else None


def _results(resolved: Resolved, experiment: Experiment, progress: Progress) -> dict[str, Any]:
    """Return the results that follow from the config and the final state, on any machine."""
    config = resolved.config
    return {
        "name": config.name,
        "seed": config.seed,
        "dataset": config.dataset.name,
        "binarization": config.binarization.name,
        "precision": config.precision,
        "steps": progress.step,
        "epochs": progress.step / experiment.timeline.steps_per_epoch,
        "stopped_early": progress.stopped or None,
        "changes": progress.changes,
        "metrics": progress.metrics,
        "weights_sha256": experiment.state.weights_sha256(),
        "state_sha256": experiment.state.sha256(),
    }
