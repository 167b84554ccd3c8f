"""The build functions of the priors. TensorFlow is imported only inside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.errors import UsageError
from vaeflow_flows.posteriors import Depth, require_hidden

if TYPE_CHECKING:
    from vaeflow.contracts import Prior


def real_nvp(latent_size: int, *, depth: Depth = 6, hidden: tuple[int, ...] = (64,), activation: str = "tanh") -> Prior:
    """RealNVP, learned affine coupling layers (Dinh et al. 2017): one pass per step to sample, and one for the density.

    Args:
        latent_size: D, 2 or more.
        depth: steps; the halves of the latents take turns.
        hidden: units of each hidden layer of a step's network.
        activation: of the hidden layers, the name of a Keras activation.

    Raises:
        UsageError: if there is one latent dimension only, a hidden layer has fewer than 2 units, or there is none.
    """
    _require("real-nvp", latent_size, hidden)
    from vaeflow_flows.coupling import CouplingStep
    from vaeflow_flows.flow_prior import FlowPrior

    steps = [
        CouplingStep(latent_size, hidden, activation, number=k, conditional=False, scale=1.0 / depth)
        for k in range(depth)
    ]
    return FlowPrior(latent_size, steps)


def maf(latent_size: int, *, depth: Depth = 4, hidden: tuple[int, ...] = (64,), activation: str = "tanh") -> Prior:
    """Learned masked autoregressive flow (Papamakarios et al. 2017): the density takes one pass per step, sampling D.

    Training needs the density only. So it trains as fast as `real-nvp`, and samples slower.

    Args:
        latent_size: D, 2 or more.
        depth: steps; every other one takes the latents in reverse order.
        hidden: units of each hidden layer of a step's masked network; use D or more, so that no latent is blocked.
        activation: of the hidden layers, the name of a Keras activation.

    Raises:
        UsageError: if there is one latent dimension only, a hidden layer has fewer than 2 units, or there is none.
    """
    _require("maf", latent_size, hidden)
    from vaeflow_flows.flow_prior import FlowPrior
    from vaeflow_flows.maf import MaskedAutoregressiveStep

    steps = [
        MaskedAutoregressiveStep(latent_size, hidden, activation, number=k, conditional=False, scale=1.0 / depth)
        for k in range(depth)
    ]
    return FlowPrior(latent_size, steps)


def _require(name: str, latent_size: int, hidden: tuple[int, ...]) -> None:
    if latent_size < 2:
        raise UsageError(
            f"prior {name!r} needs latent_size >= 2, not {latent_size}: with one latent it could only be a normal "
            "distribution; try 'standard-normal'"
        )
    require_hidden(f"prior {name!r}", hidden)
