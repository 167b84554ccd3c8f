"""Built-in priors p(z)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaeflow.contracts import Prior


def standard_normal(latent_size: int) -> Prior:
    """The article's prior N(0, I), with a closed-form KL divergence from a diagonal Gaussian.

    Args:
        latent_size: D.
    """
    from vaeflow.model.distributions import StandardNormal

    return StandardNormal(latent_size)
