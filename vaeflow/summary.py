"""What is to be said of a run that has ended, in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.run_directory import write_json

if TYPE_CHECKING:
    from vaeflow.config_resolve import Resolved
    from vaeflow.loop import Loop
    from vaeflow.run_directory import RunDirectory


def summarise(directory: RunDirectory, resolved: Resolved, loop: Loop) -> None:
    """Write summary.json.

    Args:
        directory: of the run.
        resolved: the config and its components.
        loop: has come to the end.
    """
    experiment, config = loop.experiment, resolved.config
    examples = loop.step // loop.view.steps_per_epoch * len(experiment.dataset.train)
    examples += loop.step % loop.view.steps_per_epoch * config.batch_size
    write_json(
        directory.summary,
        {
            "name": config.name,
            "seed": config.seed,
            "dataset": config.dataset.name,
            "binarization": config.binarization.name,
            "precision": config.precision,
            "strategy": experiment.strategy.name,
            "replicas": experiment.strategy.replicas,
            "steps": loop.step,
            "epochs": loop.step / loop.view.steps_per_epoch,
            "stopped_early": loop.requests.stopped or None,
            "metrics": loop.metrics,
            "weights_sha256": experiment.state.weights_sha256(),
            "state_sha256": experiment.state.sha256(),
            "seconds": loop.seconds,
            "examples_per_second": examples / loop.seconds if loop.seconds else 0.0,
            "traces": experiment.trainer.traces,
        },
    )
