"""What a run would be, without running it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vaeflow.config_resolve import to_toml

if TYPE_CHECKING:
    from vaeflow.config_resolve import Resolved
    from vaeflow.experiment import Experiment

MEBIBYTE = 2**20


def describe(resolved: Resolved, experiment: Experiment) -> str:
    """Return the resolved config, parameter counts, steps and memory, as lines for people."""
    model, timeline = experiment.model, experiment.timeline
    splits = ", ".join(f"{name} {len(split)}" for name, split in experiment.dataset.splits().items())
    parts = {"encoder": model.encoder, "posterior": model.posterior, "decoder": model.decoder, "all": model}
    counts = ", ".join(f"{name} {_parameters(part):,}" for name, part in parts.items())
    state = sum(array.nbytes for array in experiment.state.arrays().values())
    data = sum(split.x.nbytes for split in experiment.dataset.splits().values())
    return "\n".join(
        [
            to_toml(resolved.config),
            f"examples      {splits}; each of shape {model.x_shape}",
            f"parameters    {counts}",
            f"steps         {timeline.total_steps:,} ({timeline.steps_per_epoch:,} an epoch)",
            (
                f"memory        data {data / MEBIBYTE:.1f} MiB, training state {state / MEBIBYTE:.1f} MiB, "
                f"activations about {_activations(experiment) / MEBIBYTE:.0f} MiB a microbatch"
            ),
            "nothing was trained or written: this was a dry run",
        ]
    )


def _parameters(part: object) -> int:
    return sum(math.prod(v.shape) for v in getattr(part, "trainable_variables", []))


def _activations(experiment: Experiment) -> int:
    """Return bytes of all layers' outputs for one microbatch: what the backward pass keeps, to a factor of two.

    Layers inside a subclassed network have no symbolic outputs and are left out.
    """
    import keras

    rows = experiment.trainer.rows
    numbers = 0
    for network in (experiment.model.encoder, experiment.model.decoder):
        for layer in network.layers:
            outputs = keras.tree.flatten(getattr(layer, "output", ()))
            numbers += rows * sum(math.prod(output.shape[1:]) for output in outputs)
    return 4 * numbers
