"""Evaluate a finished or interrupted run, on one device or in the processes of a job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.files.write import write_json
from vaeflow.runtime.console import warn
from vaeflow.training.opened import ONE_DEVICE, opened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from vaeflow.contracts import Findings
    from vaeflow.data.sets import Folders
    from vaeflow.distributed.strategies.processes import Processes
    from vaeflow.engine.evaluation import Evaluation
    from vaeflow.plugins.discovery import Plugin
    from vaeflow.plugins.registered import Bound
    from vaeflow.training.evaluation_request import EvaluationRequest
    from vaeflow.training.experiment import Experiment


def evaluate_run(
    run_dir: Path,
    folders: Folders,
    request: EvaluationRequest,
    *,
    modules: Sequence[Plugin] = (),
    settings: Sequence[str] = ONE_DEVICE,
    accept_changes: bool = False,
) -> dict[str, Any] | None:
    """Evaluate a run on a split and write `evaluation-SPLIT.json` into its directory, with pictures of its histograms.

    All processes of a job call this. Each evaluates a share of the examples; rank 0 reads the checkpoint and writes.

    Args:
        run_dir: the run's directory.
        folders: of data sets.
        request: what is to be computed.
        modules: plugins that are not installed.
        settings: `KEY=VALUE` below `strategy`: the strategy of the evaluation.
        accept_changes: evaluate even if config, plugin code or data have changed since the checkpoint.

    Returns:
        The written content, see `figures_of`. None on ranks other than 0.

    Raises:
        UsageError: if there is no such run, split or metric, or ranks differ.
        CheckpointError: if no checkpoint is valid.
    """
    more: list[Bound] = []

    def ahead() -> None:
        request.require_features()
        more.extend(request.more_metrics(modules))

    with opened(
        run_dir,
        folders,
        agreed=request.agreed(),
        ahead=ahead,
        best=request.best,
        modules=modules,
        settings=settings,
        accept_changes=accept_changes,
    ) as (experiment, processes, step):
        unfinished = run_dir / f"evaluation-{request.split}.unfinished.json"
        result, found = evaluated(experiment, request, more, processes, unfinished)
        processes.on_chief(lambda: _write(run_dir, request.split, step, result, found))
    return result if processes.chief else None


def evaluated(
    experiment: Experiment,
    request: EvaluationRequest,
    more: Sequence[Bound],
    processes: Processes,
    unfinished: Path | None = None,
) -> tuple[dict[str, Any], Mapping[str, Findings]]:
    """Return what `figures_of` does, with the log-likelihood if it is requested, and what split metrics found.

    Args:
        experiment: of a run.
        request: what is to be computed.
        more: the request's metrics.
        processes: of the job.
        unfinished: file for the results of an estimate that is interrupted; None keeps none.
    """
    evaluation = _evaluation(experiment, request, more)
    result = figures_of(experiment, request, evaluation)
    if request.importance_samples is not None:
        from vaeflow.training.log_likelihood import Request, with_log_likelihood

        of_samples = Request(request.split, request.importance_samples, request.memory, request.annealing_steps)
        result = with_log_likelihood(result, experiment, of_samples, processes, unfinished)
    return result, evaluation.found


def figures_of(experiment: Experiment, request: EvaluationRequest, evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as JSON values.

    Args:
        experiment: of the run.
        request: what was computed.
        evaluation: what was found.

    Returns:
        The binarization, the number of examples and samples, the metrics by name in nats, KL(q, p) by latent dimension,
        and by metric of a whole split its arrays and what it says about them.
    """
    config, split = experiment.config, request.split
    details = {
        name: {**one.about, **{key: np.asarray(array).tolist() for key, array in one.arrays.items()}}
        for name, one in evaluation.found.items()
    }
    return {
        "dataset": config.dataset.name,
        "binarization": config.binarization.name,
        "split": split,
        "examples": evaluation.examples,
        "samples": request.samples or config.evaluate.samples,
        "checkpoint": "best" if request.best else "newest",
        "metrics": evaluation.scalars(split),
        "kl_per_dimension": {name: kl.tolist() for name, kl in evaluation.kl_per_dimension.items()},
        **({"details": details} if details else {}),
    }


def _evaluation(experiment: Experiment, request: EvaluationRequest, more: Sequence[Bound]) -> Evaluation:
    """Evaluate a split with the current weights.

    Raises:
        UsageError: if there is no such split, or memory does not suffice.
    """
    built: dict[str, Callable[..., Any]] = {bound.name: bound.build() for bound in more}
    with_more = replace(experiment, metrics={**experiment.metrics, **built})
    features = request.feature_network()
    found = with_more.evaluator(request.split, samples=request.samples, features=features)()
    for name, one in found.found.items():
        if not one.values:
            warn(f"warning: metric {name!r} found nothing: {', '.join(map(str, one.about.values()))}")
    return found


def _write(run_dir: Path, split: str, step: int, result: dict[str, Any], found: Mapping[str, Findings]) -> None:
    """Write the results: JSON, pictures, and scalars for TensorBoard if the run has them."""
    name = f"evaluation-{split}"
    write_json(run_dir / f"{name}.json", result)
    pictures = []
    for metric, one in found.items():
        if one.histograms:
            from vaeflow.plots import histograms, style

            title = f"{metric}, {split} split"
            pictures.append(style.save(histograms.draw(one.histograms, title), run_dir / f"{name}-{metric}.png"))
    from vaeflow.callbacks.tensorboard.of_evaluation import write_evaluation

    write_evaluation(run_dir, name, result["metrics"], pictures, step)
