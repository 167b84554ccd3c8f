"""What the two models with dense networks have in common: their arguments, which Keras saves."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from vaeflow.model.saved import SavedByArguments
from vaeflow_hierarchical.models import Level

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaeflow.contracts import Likelihood


class LevelsModel(SavedByArguments):
    """A model of levels of latents.

    Args:
        name: of the model.
        x_shape: X, the shape of one example.
        likelihood: parameters to p(x given z1).
        levels: from x up.
        activation: of the hidden layers.
        batch_norm: whether hidden layers are normalized.
        classes: C of a conditional model, else 0.
    """

    def __init__(
        self,
        name: str,
        x_shape: tuple[int, ...],
        likelihood: Likelihood,
        levels: Sequence[Level],
        activation: str,
        *,
        batch_norm: bool,
        classes: int,
    ) -> None:
        super().__init__(name=name)
        self.x_shape = tuple(x_shape)
        self.likelihood = likelihood
        self.classes = classes
        networks = {"levels": [asdict(level) for level in levels], "activation": activation, "batch_norm": batch_norm}
        self._networks = networks

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a subclass's constructor, levels as tables."""
        return {"x_shape": list(self.x_shape), "likelihood": self.likelihood, "classes": self.classes, **self._networks}

    @classmethod
    def of_arguments(cls, **arguments: Any) -> Self:
        """Return the model of what `arguments` returned."""
        levels = [Level(one["latent_size"], tuple(one["hidden"])) for one in arguments["levels"]]
        return cls(**{**arguments, "levels": levels})
