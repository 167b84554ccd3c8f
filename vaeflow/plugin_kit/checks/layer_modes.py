"""A rule for layers that behave differently in training: they must get `training`, and their state must change."""

from __future__ import annotations

import contextlib
import inspect
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vaeflow.engine.layer_state import Updates
from vaeflow.model.latents import noise_size
from vaeflow.plugin_kit.checks.require import require
from vaeflow.plugin_kit.checks.rule import Rule
from vaeflow.plugin_kit.checks.subject import ROWS, normal, uniform

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

    from vaeflow.contracts import LatentVariableModel, Terms
    from vaeflow.plugin_kit.checks.subject import Subject


def modes(subject: Subject) -> None:
    """Run the small model in training mode; check the `training` argument and the state of layers that take one."""
    model = subject.small.experiment.model
    layers = _layers(model if subject.kind == "model" else model.parts[subject.kind])
    if not layers:
        return
    with _recorded_modes(layers) as recorded, Updates() as updates:
        _terms(model, training=True)
    for layer in layers:
        name = f"layer {layer.name!r} ({type(layer).__name__})"
        require(recorded[id(layer)], f"{name} is never called, so it has no effect in training")
        require(
            any(recorded[id(layer)]),
            f"{name} is called with training=False in training: {_inert(layer)}; call it without `training`, so "
            "that it inherits the model's",
        )
        if layer.trainable:
            for variable in _kept(layer):
                if id(variable) not in updates.variables and _affects_evaluations_only(model, variable):
                    require(
                        holds=False,
                        message=f"{variable.path} of {name} never changes in training, although evaluations use it",
                    )


def _layers(part: Any) -> list[keras.layers.Layer]:
    """Return the layers of a component that take `training` and have state or random numbers of their own."""
    flattened = part._flatten_layers() if hasattr(part, "_flatten_layers") else ()  # noqa: SLF001
    return [
        layer
        for layer in flattened
        if "training" in inspect.signature(layer.call).parameters and (_kept(layer) or layer._seed_generators)  # noqa: SLF001
    ]


def _kept(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Return the float state of a layer besides its weights, without seeds and without the state of layers in it."""
    own = {id(v) for inner in layer._flatten_layers(include_self=False) for v in inner.variables}  # noqa: SLF001
    found = [v for v in layer.non_trainable_variables if id(v) not in own]
    frozen = {id(v) for v in layer._trainable_variables}  # noqa: SLF001  # of a layer that does not train
    return [v for v in found if id(v) not in frozen and tf.as_dtype(v.dtype).is_floating]


@contextlib.contextmanager
def _recorded_modes(layers: list[keras.layers.Layer]) -> Iterator[dict[int, list[bool]]]:
    """Yield the `training` arguments of each layer's calls, by its identity; the lists grow as calls are made."""
    recorded: dict[int, list[bool]] = defaultdict(list)
    calls = {id(layer): layer.call for layer in layers}

    def recording(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(calls[id(layer)]).bind(*args, **kwargs)
        bound.apply_defaults()
        recorded[id(layer)].append(bool(bound.arguments.get("training")))
        return calls[id(layer)](*args, **kwargs)

    try:
        for layer in layers:
            object.__setattr__(layer, "call", lambda *args, of=layer, **kwargs: recording(of, *args, **kwargs))
        yield recorded
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


def _affects_evaluations_only(model: LatentVariableModel, variable: keras.Variable) -> bool:
    """Return whether a variable affects evaluations but not training, like a moving average."""

    def matters(*, training: bool) -> bool:
        value = tf.convert_to_tensor(variable)
        here, away = (_figures(model, [(variable, value + by)], training=training) for by in (0.0, 0.5))
        return not np.array_equal(here, away)

    return matters(training=False) and not matters(training=True)


def _figures(
    model: LatentVariableModel, mapping: list[tuple[keras.Variable, tf.Tensor]], *, training: bool
) -> np.ndarray:
    with Updates(mapping):
        terms = _terms(model, training=training)
    return np.concatenate([np.ravel(terms.log_likelihood), np.ravel(terms.kl)])


def _terms(model: LatentVariableModel, *, training: bool) -> Terms:
    x = tf.reshape(uniform(ROWS, int(np.prod(model.x_shape))), (ROWS, *model.x_shape))
    return model.terms(tf.round(x), normal(1, ROWS, noise_size(model.latents)), training=training)


def _inert(layer: keras.layers.Layer) -> str:
    kept = [variable.path for variable in _kept(layer)]
    return f"its state ({', '.join(kept)}) never changes" if kept else "it has no effect"


MODES = Rule("modes", "layers with a `training` argument get it, and their state for evaluations changes", modes)
