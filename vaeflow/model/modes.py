"""Set the training mode of all layers of a computation.

Keras hands `training` from a layer's call to the layers that are called inside it. A posterior, prior, likelihood or
objective computes by methods of its own, not by a layer's call. So such computations are put into one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import keras

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


def in_mode(compute: Callable[[], Result], *, training: bool, of: str = "model") -> Result:
    """Compute something whose layers inherit `training`, unless they are called with another value.

    Args:
        compute: takes nothing; what it returns, or raises, comes back as it is.
        training: the mode.
        of: whose layers they are; variables that they make have it in front of their paths.
    """
    # A layer of its own for each computation: one that was called inside its own call would end the mode too early.
    call = _Call[Result](compute, of)
    call(training=training)
    if call.error is not None:
        raise call.error
    return call.results[0]


class _Call(keras.layers.Layer, Generic[Result]):
    """A layer's call around a computation.

    Nothing passes through Keras itself, which would cast what goes in, look through what comes out, and write the
    layer's name into errors.
    """

    def __init__(self, compute: Callable[[], Result], name: str) -> None:
        super().__init__(name=name, dtype="float32", autocast=False)
        self.compute = compute
        self.results: list[Result] = []
        self.error: Exception | None = None

    def call(self, training: bool | None = None) -> None:  # noqa: ARG002  # as Keras calls it
        """Compute it."""
        try:
            self.results.append(self.compute())
        except Exception as error:  # noqa: BLE001  # raised again outside of Keras
            self.error = error
