"""Write ONNX files, which are loaded without TensorFlow: one per function of a model."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from vaeflow.distributed.strategies.graphs import graph
from vaeflow.errors import PluginError, UsageError
from vaeflow.runtime.console import warn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vaeflow.training.keras_models.export import Endpoint

OPSET = 18
NEEDED = ("encode", "decode")
"""Functions without which nothing is written; others are left out if ONNX has no operation that they need."""

LEFT_OUT = ("serve",)  # it is `decode` after `encode`


def require_onnx() -> None:
    """Check that the converter is installed.

    Raises:
        UsageError: if not.
    """
    try:
        import onnx  # noqa: F401
        import tf2onnx  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"--to onnx needs the packages tf2onnx and onnx ({error}): pip install 'vaeflow[onnx]'"
        ) from error


def write_onnx(folder: Path, endpoints: Mapping[str, Endpoint]) -> list[str]:
    """Write `NAME.onnx` for each function into a folder, and return their names.

    The inputs have the names of the function's parameters (`z_GROUP` if there are several groups of latents), and the
    output has that of the function, or of the group.

    Args:
        folder: which exists.
        endpoints: the functions by name.

    Raises:
        UsageError: if the converter is not installed.
        PluginError: if a function of `NEEDED` can't be converted.
    """
    require_onnx()
    written = []
    for name, endpoint in endpoints.items():
        if name in LEFT_OUT:
            continue
        try:
            _convert(name, endpoint, folder / f"{name}.onnx")
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            if name in NEEDED:
                raise PluginError(f"{name} can't be converted to ONNX: {type(error).__name__}: {reason}") from error
            (folder / f"{name}.onnx").unlink(missing_ok=True)
            warn(f"warning: {name} is left out, since it can't be converted to ONNX: {reason}")
        else:
            written.append(name)
    return written


def _convert(name: str, endpoint: Endpoint, path: Path) -> None:
    import onnx
    import tf2onnx

    specs = list(_specs(endpoint))

    def flat(*given: tf.Tensor) -> dict[str, tf.Tensor]:
        result = endpoint.compute(*tf.nest.pack_sequence_as(list(endpoint.inputs), list(given)))
        return dict(result) if isinstance(result, Mapping) else {name: result}

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # it prints what the check below raises
    tf2onnx.convert.from_function(graph(flat, input_signature=specs), specs, opset=OPSET, output_path=str(path))
    onnx.checker.check_model(str(path), full_check=True)  # an operation that ONNX does not have is found here


def _specs(endpoint: Endpoint) -> Iterator[tf.TensorSpec]:
    """Yield what the function takes, with names, in the order of `tf.nest.flatten`."""
    for parameter, given in zip(inspect.signature(endpoint.compute).parameters, endpoint.inputs, strict=False):
        parts: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {"": given}
        for key in sorted(parts):  # as flatten orders a dict
            name = f"{parameter}_{key}" if key else parameter
            yield tf.TensorSpec(parts[key].shape, parts[key].dtype, name=name)
