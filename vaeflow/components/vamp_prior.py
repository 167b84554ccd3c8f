"""The VampPrior: a mixture of the model's own posteriors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.components.learned_priors import MixturePrior
from vaeflow.errors import UsageError
from vaeflow.model.distributions import DiagonalNormal, DiagonalNormalMixture

if TYPE_CHECKING:
    from vaeflow.contracts import PriorContext


@keras.saving.register_keras_serializable(package="vaeflow")
class VampPrior(MixturePrior):
    """p(z) = 1/K sum_k q(z given u_k), with learned pseudo-inputs u_k (Tomczak and Welling 2018, equation 9).

    Args:
        components: K.
        mean: of the initial pseudo-inputs.
        spread: their standard deviation.
        from_examples: whether examples are added to the initial pseudo-inputs, without their mean.
    """

    def __init__(self, components: int, mean: float, spread: float, *, from_examples: bool = False) -> None:
        super().__init__(name="prior", dtype="float32")
        self._components, self._mean, self._spread = components, mean, spread
        self.start_examples = components if from_examples else 0
        self._initial = keras.initializers.RandomNormal(mean=mean, stddev=spread)
        self._context: PriorContext | None = None

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        config = {"components": self._components, "mean": self._mean, "spread": self._spread}
        return {**config, "from_examples": self.start_examples > 0}

    def connect(self, context: PriorContext) -> None:
        """Create the pseudo-inputs, [K, *X].

        Raises:
            UsageError: if the model has labels, without which it has no posteriors.
        """
        if context.classes:
            raise UsageError("prior 'vamp' is the same for all labels: it can't be used with condition.labels = true")
        self._context, shape = context, (self._components, *context.x_shape)
        self.pseudo_inputs = self.add_weight(shape=shape, initializer=self._initial, name="pseudo_inputs")

    def start(self, examples: tf.Tensor) -> None:
        """Set the pseudo-inputs to examples [K, *X] with noise, as Tomczak and Welling's code can.

        Args:
            examples: as the model gets them.
        """
        self.pseudo_inputs.assign(examples + (tf.convert_to_tensor(self.pseudo_inputs) - self._mean))

    def _mixture(self) -> DiagonalNormalMixture:
        if self._context is None:
            raise UsageError(
                "prior 'vamp' needs the model's encoder, which this model does not give it: use model = single-layer, "
                "or a model that calls connect of its prior"
            )
        q = self._context.posterior_of(tf.convert_to_tensor(self.pseudo_inputs))
        if type(q) is not DiagonalNormal:
            raise UsageError(
                f"prior 'vamp' needs posteriors that are diagonal Gaussians, not {type(q).__name__}: set "
                "posterior = diagonal-gaussian"
            )
        return DiagonalNormalMixture(tf.zeros((self._components,)), q.mu, q.log_var)
