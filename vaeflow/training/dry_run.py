"""Describe a run without training: config, parameters, steps and memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vaeflow.runtime.memory import MEBIBYTE, available, format_bytes

if TYPE_CHECKING:
    from vaeflow.config.resolve import Resolved
    from vaeflow.training.experiment import Experiment


def describe(resolved: Resolved, experiment: Experiment) -> str:
    """Return the resolved config, parameter counts, steps and memory as text."""
    model, timeline = experiment.model, experiment.timeline
    splits = ", ".join(f"{name} {len(split)}" for name, split in experiment.dataset.splits().items())
    parts = {name: _parameters(part) for name, part in model.parts.items()} | {"all": _parameters(model)}
    counts = ", ".join(f"{name} {count:,}" for name, count in parts.items() if count)
    state = sum(array.nbytes for array in experiment.state.arrays().values())
    data = sum(split.x.nbytes for split in experiment.dataset.splits().values())
    return "\n".join(
        [
            resolved.to_toml(),
            f"examples      {splits}; each of shape {model.x_shape}",
            f"parameters    {counts}",
            f"steps         {timeline.total_steps:,} ({timeline.steps_per_epoch:,} per epoch)",
            (
                f"memory        data {data / MEBIBYTE:.1f} MiB, training state {state / MEBIBYTE:.1f} MiB, "
                f"activations about {_activations(experiment) / MEBIBYTE:.0f} MiB per microbatch; "
                f"available {format_bytes(available().size)}"
            ),
            "dry run: nothing was trained or written",
        ]
    )


def _parameters(part: object) -> int:
    return sum(math.prod(v.shape) for v in getattr(part, "trainable_variables", []))


def _activations(experiment: Experiment) -> float:
    """Return the bytes of activations for the backward pass of one microbatch, see `vaeflow.model.memory_estimate`."""
    from vaeflow.model.memory_estimate import backward_bytes

    parts = experiment.trainer.step.microbatches
    return parts.rows * backward_bytes(experiment.model, parts.objective.samples)
