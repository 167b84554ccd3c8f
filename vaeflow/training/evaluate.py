"""Evaluate a finished or interrupted run, on one device or in the processes of a job."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vaeflow.config.schema import Selection
from vaeflow.files.write import write_json
from vaeflow.plugins.registry import Registry
from vaeflow.training.agreement import FirstMeeting
from vaeflow.training.existing import of_strategy, resolve_run
from vaeflow.training.run_files.directory import RunDirectory
from vaeflow.training.setup import prepare_to_read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vaeflow.data.sets import Folders
    from vaeflow.plugins.discovery import Plugin
    from vaeflow.plugins.registered import Bound
    from vaeflow.training.experiment import Experiment

ONE_DEVICE = ("strategy=single",)


def evaluate_run(
    run_dir: Path,
    folders: Folders,
    *,
    split: str = "test",
    samples: int | None = None,
    best: bool = False,
    modules: Sequence[Plugin] = (),
    settings: Sequence[str] = ONE_DEVICE,
    accept_changes: bool = False,
    importance_samples: int | None = None,
    memory: float | None = None,
    annealing_steps: int = 0,
    metrics: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Evaluate a run on a split and write `evaluation-SPLIT.json` into its directory.

    All processes of a job call this. Each evaluates a share of the examples; rank 0 reads the checkpoint and writes.

    Args:
        run_dir: the run's directory.
        folders: of data sets.
        split: `train`, `validation` or `test`.
        samples: L, the samples of z per example; None uses the config's.
        best: evaluate the best checkpoint instead of the newest.
        modules: plugins that are not installed.
        settings: `KEY=VALUE` below `strategy`: the strategy of the evaluation.
        accept_changes: evaluate even if config, plugin code or data have changed since the checkpoint.
        importance_samples: K, the samples per example that log p(x) is estimated with, too; None does not estimate it.
        memory: bytes that these samples may take; None uses what is available.
        annealing_steps: T, if log p(x) is estimated by annealed importance sampling, with K chains of T steps; else 0.
        metrics: names of metrics beside those of the config.

    Returns:
        The written content: the binarization, the number of examples and samples, and the metrics by name in nats. None
        on ranks other than 0.

    Raises:
        UsageError: if there is no such run, split or metric, or ranks differ.
        CheckpointError: if no checkpoint is valid.
    """
    requested = {"split": split, "samples": samples, "best": best, "importance_samples": importance_samples}
    requested |= {"metrics": ",".join(metrics), "annealing_steps": annealing_steps}
    with FirstMeeting(accept_changes=accept_changes, **requested) as meeting:
        directory = RunDirectory.open(run_dir)
        resolved = resolve_run(directory, modules, of_strategy(settings))
        more = more_metrics(metrics, modules)
        experiment, record = prepare_to_read(
            resolved, folders, topology=resolved.strategy.build(), meeting=meeting, accept_changes=accept_changes
        )
    from vaeflow.distributed.strategies.processes import Processes
    from vaeflow.training.checkpoints.restore import restore_to_read

    processes = Processes(experiment.strategy)
    with contextlib.closing(experiment.strategy):
        processes.on_chief(
            lambda: restore_to_read(
                directory, resolved, experiment, record, best=best, accept_changes=accept_changes
            ).to_json()
        )
        processes.share(experiment.state.to_bytes, experiment.state.from_bytes)
        result = figures_of(experiment, split, samples, best=best, more=more)
        if importance_samples is not None:
            from vaeflow.training.log_likelihood import Request, with_log_likelihood

            unfinished = run_dir / f"evaluation-{split}.unfinished.json"
            request = Request(split, importance_samples, memory, annealing_steps)
            result = with_log_likelihood(result, experiment, request, processes, unfinished)
        processes.on_chief(lambda: write_json(run_dir / f"evaluation-{split}.json", result))
    return result if processes.chief else None


def more_metrics(names: Sequence[str], modules: Sequence[Plugin]) -> list[Bound]:
    """Return metrics by their names, with the defaults of their options.

    Args:
        names: of components of kind metric.
        modules: plugins that are not installed.

    Raises:
        UsageError: if there is no such metric, or it has required options.
    """
    registry = Registry.load(modules) if names else None
    return [registry.bind("metric", Selection(name=name), "--metric") for name in names] if registry else []


def figures_of(
    experiment: Experiment,
    split: str,
    samples: int | None = None,
    *,
    best: bool = False,
    more: Sequence[Bound] = (),
) -> dict[str, Any]:
    """Evaluate a split with the current weights.

    Args:
        experiment: of a run.
        split: `train`, `validation` or `test`.
        samples: L, the samples of z per example; None uses the config's.
        best: whether the weights are those of the best checkpoint, for the description.
        more: metrics beside those of the config.

    Returns:
        The binarization, the number of examples and samples, and the metrics by name in nats.

    Raises:
        UsageError: if there is no such split, or memory does not suffice.
    """
    config = experiment.config
    metrics = {**experiment.metrics, **{bound.name: bound.build() for bound in more}}
    evaluation = replace(experiment, metrics=metrics).evaluator(split, samples=samples)()
    return {
        "dataset": config.dataset.name,
        "binarization": config.binarization.name,
        "split": split,
        "examples": evaluation.examples,
        "samples": samples or config.evaluate.samples,
        "checkpoint": "best" if best else "newest",
        "metrics": evaluation.scalars(split),
    }
