"""The only group of latents of a model, for metrics that are defined for one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from vaeflow.contracts import WholeSplit


class OneGroup(NamedTuple):
    """A model's only group of latents.

    Attributes:
        name: its name.
        size: D, the number of its latents.
        noise_size: numbers per sample that the posterior needs.
        prior_noise_size: numbers per sample that the prior needs.
    """

    name: str
    size: int
    noise_size: int
    prior_noise_size: int

    @classmethod
    def of(cls, split: WholeSplit, metric: str) -> OneGroup:
        """Return the group.

        Args:
            split: with the model.
            metric: that needs it, for errors.

        Raises:
            UsageError: if the model has several groups, or latents that are codes without noise.
        """
        groups = split.model.latents
        if len(groups) > 1:
            names = ", ".join(group.name for group in groups)
            raise UsageError(f"metric {metric!r} is for models with one group of latents; this one has {names}")
        (group,) = groups
        if group.deterministic:
            raise UsageError(f"metric {metric!r}: latents {group.name} of this model are codes without noise")
        return cls(group.name, math.prod(group.shape), group.noise_size, group.generation_noise_size)
