"""Write a SavedModel, which is loaded without vaeflow and without Keras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.errors import PluginError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Endpoint:
    """A function of a SavedModel.

    Attributes:
        compute: takes tensors; the names of its parameters are those of the signature.
        inputs: what it takes, in the order of the parameters; None stands for any size.
    """

    compute: Callable[..., Any]
    inputs: tuple[Any, ...]


def write_saved_model(folder: str | Path, endpoints: Mapping[str, Endpoint], *, whose: str, verbose: bool) -> None:
    """Write a SavedModel.

    Args:
        folder: of the SavedModel.
        endpoints: its functions by name; the first is `serving_default`, too.
        whose: the model's name, for errors.
        verbose: print the signatures.

    Raises:
        PluginError: if a component needs to know the number of examples when the graph is made.
    """
    archive = keras.export.ExportArchive()
    for name, endpoint in endpoints.items():
        try:
            archive.add_endpoint(name, endpoint.compute, list(endpoint.inputs))
        except VaeflowError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())
            raise PluginError(
                f"{whose}.export: {name} can't be made for any number of examples: {type(error).__name__}: {reason}"
            ) from error
    archive.write_out(str(folder), verbose=verbose)


def rows(*shape: int | None, dtype: tf.DType = tf.float32, name: str | None = None) -> tf.TensorSpec:
    """Return the spec of an array [B, *shape], for any B; a signature has the name instead of the parameter's."""
    return tf.TensorSpec((None, *shape), dtype, name=name)
