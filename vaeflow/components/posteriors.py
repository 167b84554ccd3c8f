"""Built-in posteriors q(z given x)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vaeflow.contracts import Posterior


def diagonal_gaussian(latent_size: int) -> Posterior:
    """The article's posterior N(mu, diag(sigma^2)): two dense heads compute mu and log sigma^2, in float32.

    Args:
        latent_size: D.
    """
    from vaeflow.components.heads import DiagonalGaussianHead

    return DiagonalGaussianHead(latent_size)
