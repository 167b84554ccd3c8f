"""Estimate the memory of training and evaluation before they start.

For the built-in networks on CPUs, estimates were within a quarter of the measurements. Layers inside a subclassed
network are not included, because they have no symbolic outputs. Likelihoods with many parameters per element, such as
mixtures, need more than is estimated. The memory of a GPU is not estimated; there TensorFlow itself reports an error.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from vaeflow.runtime import memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.contracts import LatentVariableModel

FLOAT = 4  # bytes
DENSITY = 3.4
"""Arrays of x's size that the likelihood needs at the same time."""

DENSITY_IN_TRAINING = 4.3
"""The same if they are kept for the backward pass."""

LARGEST_OUTPUT = 1.65
"""Memory of a network's forward pass, in units of its largest output."""

OF_LATENTS = 6
"""Arrays of the size of z: noise, z, the terms of KL(q, p)."""

WEIGHTS_IN_THE_STATE = 2
"""Arrays of the weights' size in the state: most optimizers have one more, some two."""

WEIGHTS_OF_AN_INITIALIZER = 2
"""Arrays of a weight's size while it is initialized."""

WEIGHTS_IN_A_STEP = 3
"""Arrays of the weights' size in a step, besides those of microbatches: sums as integers, and the gradient."""


def forward_bytes(model: LatentVariableModel, samples: int = 1) -> float:
    """Return the bytes needed for the ELBO per example, with some samples of z."""
    once, each = _networks(model)
    decoded = max(DENSITY * _bytes(model.x_shape), LARGEST_OUTPUT * max(each, default=0.0))
    encoded = LARGEST_OUTPUT * max(once, default=0.0)
    return max(encoded, samples * (decoded + _latents(model)))


def backward_bytes(model: LatentVariableModel, samples: int = 1) -> float:
    """Return the bytes needed for the gradient of the loss per example, with some samples of z."""
    once, each = _networks(model)
    decoded = sum(each) + DENSITY_IN_TRAINING * _bytes(model.x_shape)
    return sum(once) + samples * (decoded + _latents(model))


def require_evaluation(model: LatentVariableModel, rows: int, samples: int, examples: int) -> None:
    """Check that an evaluation fits into memory.

    Args:
        model: any model.
        rows: examples at a time.
        samples: L, the samples of z per example.
        examples: of the split.

    Raises:
        UsageError: if memory is not sufficient.
    """
    columns = 2 + 2 * sum(math.prod(group.shape) for group in model.latents)
    table = examples * columns * (2 * FLOAT + 8)
    size = rows * forward_bytes(model, samples) + table
    left, one = memory.left_for_work() - table, forward_bytes(model)
    most = int(left // (rows * one)) if one else samples
    advice = (
        f"lower the samples (--samples, evaluate.samples) to about {most}"
        if 0 < most < samples
        else f"lower evaluate.batch_size to about {max(1, int(left // forward_bytes(model, samples)))}"
        if rows > 1
        else "use a smaller model"
    )
    _require(size, f"an evaluation of {rows} examples at once with {samples} samples each", advice)


def require_elbo(model: LatentVariableModel, rows: int, samples: int) -> None:
    """Check that the ELBO of some examples at a time fits into memory.

    Args:
        model: any model.
        rows: examples at a time.
        samples: L, the samples of z per example.

    Raises:
        UsageError: if memory is not sufficient.
    """
    most = max(1, int(memory.left_for_work() // (rows * forward_bytes(model))))
    what = f"the ELBO of {rows} examples at once with {samples} samples each"
    _require(rows * forward_bytes(model, samples), what, f"lower samples to about {most}")


def require_training(
    model: LatentVariableModel, *, rows: int, batch_size: int, samples: int, share: int, state: int
) -> None:
    """Check that training fits into memory.

    Args:
        model: any model.
        rows: examples in a microbatch.
        batch_size: of the config.
        samples: L, of the objective.
        share: microbatches that a process differentiates in a step.
        state: bytes of the training state, which a checkpoint copies.

    Raises:
        UsageError: if memory is not sufficient.
    """
    weights = sum((_bytes(v.shape) for v in model.trainable_variables), 0.0)
    kept = (WEIGHTS_IN_A_STEP + share) * weights + state
    one = backward_bytes(model, samples)
    fitting = max(1, int((memory.left_for_work() - kept) // one))
    advice = (
        f"lower batch_size to about {max(1, batch_size * fitting // rows)}, or raise microbatches (accumulate, if "
        f"they are auto) so that each has about {fitting} examples"
        if fitting < rows
        else "lower the sizes of the networks, or the number of microbatches"
    )
    _require(rows * one + kept, f"training on microbatches of {rows} examples", advice)


def require_examples(count: int, numbers: int, what: str, setting: str) -> None:
    """Check that an array of examples fits into memory.

    Args:
        count: how many examples.
        numbers: float32 numbers per example, over all arrays.
        what: their name for the message.
        setting: the setting for their number.

    Raises:
        UsageError: if memory is not sufficient.
    """
    most = int(memory.left_for_work() // (FLOAT * numbers))
    memory.require(FLOAT * count * numbers, f"{count} {what}", f"lower {setting} to about {max(1, most)}")


@contextlib.contextmanager
def sized_weights() -> Iterator[None]:
    """Check that memory is sufficient for the weights of layers built in the context, before they are created.

    Raises:
        UsageError: if it is not.
    """
    add_weight, total = keras.Layer.add_weight, 0.0

    def sized(layer: keras.Layer, shape: Any = None, *args: Any, **options: Any) -> Any:
        nonlocal total
        own = _bytes(shape if isinstance(shape, (tuple, list)) else () if shape is None else (shape,))
        total += own
        advice = f"lower the sizes of the networks: layer {layer.name!r} has a weight of shape {shape}"
        size = WEIGHTS_IN_THE_STATE * total + WEIGHTS_OF_AN_INITIALIZER * own
        memory.require(size, "the model's weights with the optimizer's", advice)
        return add_weight(layer, shape, *args, **options)

    keras.Layer.add_weight = sized
    try:
        yield
    finally:
        keras.Layer.add_weight = add_weight


def _require(size: float, what: str, advice: str) -> None:
    if not tf.config.list_physical_devices("GPU"):  # the memory of a GPU is not estimated; not verified on a GPU
        memory.require(size, what, advice)


def _latents(model: LatentVariableModel) -> float:
    return OF_LATENTS * FLOAT * sum(max(math.prod(group.shape), group.noise_size) for group in model.latents)


def _networks(model: LatentVariableModel) -> tuple[list[float], list[float]]:
    """Return the bytes of each layer's output per example: of encoders, and of parts that compute for each sample."""
    once: list[float] = []
    each: list[float] = []
    for name, part in model.parts.items():
        (once if name.startswith("encoder") else each).extend(_outputs(part))
    return once, each


def _outputs(part: Any) -> list[float]:
    """Return the bytes of each layer's output per example; none for a part that is no `keras.Model`."""
    layers = getattr(part, "layers", ())
    outputs = [output for layer in layers for output in keras.tree.flatten(getattr(layer, "output", ()))]
    return [_bytes(output.shape[1:]) for output in outputs]


def _bytes(shape: Any) -> float:
    return float(FLOAT * math.prod(int(size) for size in shape if size is not None))
