"""Call each component on examples of zeros before anything is written: errors in a graph are long and late."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeflow.model.vae import VAE
from vaeflow.training.sanity_check.model import try_model
from vaeflow.training.sanity_check.single_layer import try_single_layer
from vaeflow.training.sanity_check.step_parts import NOISES, try_metrics, try_objective, try_transform

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaeflow.config.resolve import Resolved
    from vaeflow.contracts import LatentVariableModel, Metric, Objective, Schedule, SplitMetric, Transform

__all__ = ["NOISES", "Built", "sanity_check"]


@dataclass(frozen=True)
class Built:
    """The objects that components have built.

    Attributes:
        x_shape: X of the stored examples.
        transforms: in their order.
        model: any model.
        objective: computes the loss.
        schedule: the weight of the KL divergence.
        metrics: by name.
        classes: C of a conditional model, else 0.
    """

    x_shape: tuple[int, ...]
    transforms: Sequence[Transform]
    model: LatentVariableModel
    objective: Objective
    schedule: Schedule
    metrics: Mapping[str, Metric | SplitMetric]
    classes: int = 0


def sanity_check(resolved: Resolved, built: Built) -> None:
    """Call each component once. This also creates the weights of layers that are built on their first call.

    Raises:
        UsageError: if the decoder's output does not fit the likelihood.
        PluginError: with the component's name, if it fails, returns a wrong type or shape, or uses variables that the
            model does not have.
    """
    given = built.x_shape
    for bound, transform in zip(resolved.transforms, built.transforms, strict=True):
        try_transform(bound, transform, given)
        given = tuple(transform.x_shape)
    if isinstance(built.model, VAE):
        try_single_layer(resolved, built.model, classes=built.classes)
    else:
        try_model(resolved.model, built.model, classes=built.classes)
    try_objective(
        *(resolved.objective, built.objective, built.schedule, built.model),
        classes=built.classes,
        of_model=resolved.model,
    )
    try_metrics(resolved.metrics, built.metrics, built.model, classes=built.classes)
