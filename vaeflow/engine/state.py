"""The training state: all variables that training changes, as named arrays."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import tensorflow as tf

    from vaeflow.engine.step import TrainStep


class TrainingState:
    """Weights, optimizer slots, moving averages, loss scale and players under names that do not depend on the topology.

    Args:
        step: the training step that has them.
    """

    def __init__(self, step: TrainStep) -> None:
        model = step.microbatches.model
        self._average = step.average
        self._weights = _named("model", [(v.name, v.value) for v in model.variables])
        self._variables = {
            **self._weights,
            **_named("optimizer", [("slot", v.value) for v in step.optimizer.variables]),
            **_named("average", [("value", v) for v in step.average.variables]),
            **_named("loss_scale", [("value", v) for v in step.microbatches.loss_scale.variables]),
        }
        for player in step.microbatches.players:
            self._variables |= _named(f"player/{player.name}", [(v.name, v.value) for v in player.variables])
            slots = [("slot", v.value) for v in player.optimizer.variables]
            self._variables |= _named(f"player/{player.name}/optimizer", slots)

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """Every variable by its name."""
        return dict(self._variables)

    def to_bytes(self) -> bytes:
        """Return all variables' bytes, one after the other."""
        return b"".join(np.ascontiguousarray(array).tobytes() for array in self.arrays().values())

    def from_bytes(self, content: bytes) -> None:
        """Set every variable from the value of `to_bytes` of the same model."""
        first = 0
        for variable in self._variables.values():
            dtype, shape = np.dtype(variable.dtype.as_numpy_dtype), tuple(variable.shape)
            count = math.prod(shape)
            variable.assign(np.frombuffer(content, dtype, count, first).reshape(shape))
            first += count * dtype.itemsize

    def arrays(self) -> dict[str, np.ndarray]:
        """Return a copy of every variable by its name."""
        return {name: v.numpy().copy() for name, v in self._variables.items()}

    def assign(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set every variable.

        Raises:
            CheckpointError: if a name is missing or left over, or a shape or type differs; nothing is changed then.
        """
        _assign(self._variables, arrays)

    def assign_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Set the model's variables, and their moving averages, from those of another run's state.

        Raises:
            CheckpointError: if they are of another model; nothing is changed then.
        """
        _assign(self._weights, {name: array for name, array in arrays.items() if name.startswith("model/")})
        self._average.reset()

    def weights_sha256(self) -> str:
        """Return the hash of the model's variables."""
        return sha256_of((name, v.numpy()) for name, v in self._weights.items())

    def sha256(self) -> str:
        """Return the hash of the complete training state."""
        return sha256_of(self.arrays().items())


def sha256_of(arrays: Iterable[tuple[str, np.ndarray]]) -> str:
    """Return one hash of names, types, shapes and bytes, in hexadecimal."""
    digest = hashlib.sha256()
    for name, array in arrays:
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _assign(variables: Mapping[str, tf.Variable], arrays: Mapping[str, np.ndarray]) -> None:
    unmatched = sorted(set(arrays) ^ set(variables))
    if unmatched:
        raise CheckpointError(f"the checkpoint is of another model: {unmatched[0]!r} is only in one of the two")
    for name, variable in variables.items():
        if arrays[name].shape != tuple(variable.shape) or arrays[name].dtype != variable.dtype.as_numpy_dtype:
            raise CheckpointError(
                f"the checkpoint is of another model: {name!r} is {arrays[name].dtype}{arrays[name].shape} there "
                f"and {variable.dtype.name}{tuple(variable.shape)} here"
            )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _named(part: str, variables: list[tuple[str, tf.Variable]]) -> dict[str, tf.Variable]:
    # Keras numbers layers by process and names slots after them (dense_3_kernel_momentum): only positions are stable.
    return {f"{part}/{index:03d}/{name}": variable for index, (name, variable) in enumerate(variables)}
