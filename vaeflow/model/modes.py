"""Set the training mode of all layers of a computation.

Keras passes `training` from a layer's call to the layers that are called inside it. A posterior, prior, likelihood or
objective computes by other methods. So these computations are run inside a layer's call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import keras

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


def in_mode(compute: Callable[[], Result], *, training: bool, of: str = "model") -> Result:
    """Compute something whose layers inherit `training`, unless they are called with another value.

    Args:
        compute: called without arguments; its result is returned, and its errors are raised.
        training: the mode.
        of: owner of the layers; prefix of the paths of variables that they create.
    """
    # Not an attribute of the layer, where Keras would track layers among the results, such as a learned prior.
    results: list[Result] = []
    # A new layer per computation: a layer called inside its own call would end the mode too early.
    call = _Call(lambda: results.append(compute()), of)
    call(training=training)
    if call.error is not None:
        raise call.error
    return results[0]


class _Call(keras.layers.Layer):
    """A layer's call around a computation.

    No values pass through Keras, which would cast inputs, inspect outputs, and add the layer's name to errors.
    """

    def __init__(self, compute: Callable[[], None], name: str) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        self.compute = compute
        self.error: Exception | None = None

    def call(self, training: bool | None = None) -> None:  # noqa: ARG002  # as Keras calls it
        """Compute it."""
        try:
            self.compute()
        except Exception as error:  # noqa: BLE001  # raised again outside of Keras
            self.error = error
