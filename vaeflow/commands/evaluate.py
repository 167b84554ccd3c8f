"""Evaluate a finished or interrupted run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaeflow.files.write import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def evaluate_run(
    run_dir: Path,
    *,
    split: str = "test",
    samples: int | None = None,
    best: bool = False,
    modules: Sequence[str] = (),
    data_dir: Path | None = None,
    accept_changes: bool = False,
) -> dict[str, Any]:
    """Evaluate a run on a split and write `evaluation-SPLIT.json` into its directory.

    Args:
        run_dir: the run's directory.
        split: `train`, `validation` or `test`.
        samples: L, the samples of z per example; None uses the config's.
        best: evaluate the best checkpoint instead of the newest.
        modules: plugins that are not installed.
        data_dir: the user's folder of data sets.
        accept_changes: evaluate even if config, plugin code or data have changed since the checkpoint.

    Returns:
        The written content: the binarization, the number of examples and samples, and the metrics by name in nats.

    Raises:
        UsageError: if there is no such run or split.
        CheckpointError: if no checkpoint is valid.
    """
    from vaeflow.api import load

    loaded = load(run_dir, best=best, plugins=modules, data_dir=data_dir, accept_changes=accept_changes)
    evaluation = loaded.experiment.evaluator(split, samples=samples)()
    result = {
        "dataset": loaded.config.dataset.name,
        "binarization": loaded.config.binarization.name,
        "split": split,
        "examples": evaluation.examples,
        "samples": samples or loaded.config.evaluate.samples,
        "checkpoint": "best" if best else "newest",
        "metrics": evaluation.scalars(split),
    }
    write_json(run_dir / f"evaluation-{split}.json", result)
    return result
