"""A rule for layers that behave otherwise in training: they must be told, and what they keep must move."""

from __future__ import annotations

import contextlib
import inspect
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vaeflow.engine.layer_state import Updates
from vaeflow.plugin_kit.checks.require import require
from vaeflow.plugin_kit.checks.rule import Rule
from vaeflow.plugin_kit.checks.subject import ROWS, normal, uniform

if TYPE_CHECKING:
    from collections.abc import Iterator

    import keras

    from vaeflow.contracts import Terms
    from vaeflow.model.vae import VAE
    from vaeflow.plugin_kit.checks.subject import Subject


def modes(subject: Subject) -> None:
    """Run the small model in training, and look at layers that take `training`: what they are told, what they keep."""
    model = subject.small.experiment.model
    layers = _layers(getattr(model, subject.kind))
    if not layers:
        return
    with _told(layers) as told, Updates() as updates:
        _terms(model, training=True)
    for layer in layers:
        name = f"layer {layer.name!r} ({type(layer).__name__})"
        require(told[id(layer)], f"{name} is never called, so it has no effect in training")
        require(
            any(told[id(layer)]),
            f"{name} is called with training=False in training: {_inert(layer)}; call it without `training`, so "
            "that it inherits the model's",
        )
        if layer.trainable:
            for variable in _kept(layer):
                if id(variable) not in updates.variables and _for_evaluations_alone(model, variable):
                    require(
                        holds=False,
                        message=f"{variable.path} of {name} never changes in training, although evaluations use it",
                    )


def _layers(part: Any) -> list[keras.layers.Layer]:
    """Return the layers of a component that take `training`, and keep something or draw random numbers themselves."""
    flattened = part._flatten_layers() if hasattr(part, "_flatten_layers") else ()  # noqa: SLF001
    return [
        layer
        for layer in flattened
        if "training" in inspect.signature(layer.call).parameters and (_kept(layer) or layer._seed_generators)  # noqa: SLF001
    ]


def _kept(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Return the floats that a layer itself keeps beside its weights; not those of layers in it, nor seeds."""
    own = {id(v) for inner in layer._flatten_layers(include_self=False) for v in inner.variables}  # noqa: SLF001
    found = [v for v in layer.non_trainable_variables if id(v) not in own]
    frozen = {id(v) for v in layer._trainable_variables}  # noqa: SLF001  # of a layer that does not train
    return [v for v in found if id(v) not in frozen and tf.as_dtype(v.dtype).is_floating]


@contextlib.contextmanager
def _told(layers: list[keras.layers.Layer]) -> Iterator[dict[int, list[bool]]]:
    """Yield what each layer's calls are told of `training`, by its identity, as they come."""
    told: dict[int, list[bool]] = defaultdict(list)
    calls = {id(layer): layer.call for layer in layers}

    def heard(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(calls[id(layer)]).bind(*args, **kwargs)
        bound.apply_defaults()
        told[id(layer)].append(bool(bound.arguments.get("training")))
        return calls[id(layer)](*args, **kwargs)

    try:
        for layer in layers:
            object.__setattr__(layer, "call", lambda *args, of=layer, **kwargs: heard(of, *args, **kwargs))
        yield told
    finally:
        for layer in layers:
            object.__delattr__(layer, "call")


def _for_evaluations_alone(model: VAE, variable: keras.Variable) -> bool:
    """Return whether other values of a variable matter in evaluations and not in training, as those of averages do."""

    def matters(*, training: bool) -> bool:
        value = tf.convert_to_tensor(variable)
        here, away = (_figures(model, [(variable, value + by)], training=training) for by in (0.0, 0.5))
        return not np.array_equal(here, away)

    return matters(training=False) and not matters(training=True)


def _figures(model: VAE, mapping: list[tuple[keras.Variable, tf.Tensor]], *, training: bool) -> np.ndarray:
    with Updates(mapping):
        terms = _terms(model, training=training)
    return np.concatenate([np.ravel(terms.log_likelihood), np.ravel(terms.kl)])


def _terms(model: VAE, *, training: bool) -> Terms:
    x = tf.reshape(uniform(ROWS, int(np.prod(model.x_shape))), (ROWS, *model.x_shape))
    return model.terms(tf.round(x), normal(1, ROWS, model.posterior.noise_size), training=training)


def _inert(layer: keras.layers.Layer) -> str:
    kept = [variable.path for variable in _kept(layer)]
    return f"what it keeps ({', '.join(kept)}) never moves" if kept else "it never acts"


MODES = Rule("modes", "layers with a `training` argument get it, and their state for evaluations changes", modes)
