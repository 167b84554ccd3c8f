"""What steps with a conditioner have in common: its masks are given by the latents and the step's number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaeflow_flows.conditioner import Conditioner
from vaeflow_flows.layers import Layer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


class ConditionedStep(Layer):
    """The variables of one step; a subclass says by `arranged` which latents the network sees.

    Args:
        latent_size: D.
        hidden: units of each hidden layer.
        activation: of the hidden layers, the name of a Keras activation.
        number: of the step, from 0; every other step takes the latents the other way round.
        conditional: whether there are features.
        scale: factor of the network's outputs.
    """

    def __init__(
        self,
        latent_size: int,
        hidden: Sequence[int],
        activation: str,
        *,
        number: int,
        conditional: bool = True,
        scale: float = 1.0,
    ) -> None:
        super().__init__(f"step_{number}")
        self._config = {"latent_size": latent_size, "hidden": list(hidden), "activation": activation}
        self._config |= {"number": number, "conditional": conditional, "scale": scale}
        layers = self.arranged(latent_size, hidden, reverse=number % 2 == 1)
        self.conditioner = Conditioner(layers, activation, conditional=conditional, scale=scale)

    def arranged(self, latent_size: int, hidden: Sequence[int], *, reverse: bool) -> list[np.ndarray]:
        """Keep the arrangement of the latents, and return the masks of the network's layers."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return dict(self._config)
