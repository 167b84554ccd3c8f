"""Components tried on examples of zeros before the disk is touched: in a graph, errors are long and come late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.training.sanity_check.model import try_model
from vaeflow.training.sanity_check.step_parts import NOISES, try_metrics, try_objective, try_transform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaeflow.config.resolve import Resolved
    from vaeflow.contracts import Metric, Objective, Schedule, Transform
    from vaeflow.model.vae import VAE

__all__ = ["NOISES", "Built", "sanity_check"]


@dataclass(frozen=True)
class Built:
    """What components have built.

    Attributes:
        x_shape: X of the stored examples.
        transforms: in their order.
        model: the autoencoder.
        objective: terms to a loss.
        schedule: how the KL divergence enters it.
        metrics: by name.
    """

    x_shape: tuple[int, ...]
    transforms: Sequence[Transform]
    model: VAE
    objective: Objective
    schedule: Schedule
    metrics: Mapping[str, Metric]


def sanity_check(resolved: Resolved, built: Built) -> None:
    """Compute with each component once. Layers that wait for their input's shape have their weights afterwards.

    Raises:
        UsageError: if the decoder's output is not what the likelihood takes.
        PluginError: in a component's name, if it fails, returns something else than its kind must, or uses variables
            that the model does not have.
    """
    given = built.x_shape
    for bound, transform in zip(resolved.transforms, built.transforms, strict=True):
        try_transform(bound, transform, given)
        given = tuple(transform.x_shape)
    try_model(resolved, built.model)
    try_objective(resolved.objective, built.objective, built.schedule, built.model)
    try_metrics(resolved.metrics, built.metrics, built.model)
