"""The Keras objects of a package, and whether one is the same after Keras has saved and loaded it."""

from __future__ import annotations

import importlib
import json
import pkgutil
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras


def layer_classes(package: str) -> dict[str, type[keras.Layer]]:
    """Return the layers and models that the modules of a package define, by name."""
    import keras

    return {name: one for name, one in keras_classes(package).items() if issubclass(one, keras.Layer)}


def unsaved_classes(package: str) -> set[str]:
    """Return which Keras objects and parts of models of a package Keras could not save: a class of its own `get_config`
    that is not registered for the package, or without one. Classes that others derive from are left out.
    """
    import keras

    found = keras_classes(package)
    leaves = {n: c for n, c in found.items() if not any(issubclass(o, c) for o in found.values() if o is not c)}
    wrong = set()
    for name, one in leaves.items():
        of_keras = getattr(one, "get_config", None) in {getattr(base, "get_config", None) for base in _of_keras(one)}
        if of_keras or keras.saving.get_registered_name(one) != f"{package}>{name}" or not hasattr(one, "from_config"):
            wrong.add(name)
    return wrong


def _of_keras(one: type) -> list[type]:
    return [base for base in one.__mro__ if base.__module__.split(".")[0] in {"keras", "builtins"}]


def keras_classes(package: str) -> dict[str, type]:
    """Return the classes of a package that Keras saves, by name: those that derive from a class of Keras with a config,
    likelihoods, posteriors, and priors without variables.
    """
    import keras

    bases = (
        keras.Layer,
        keras.Optimizer,
        keras.Metric,
        keras.Loss,
        keras.optimizers.schedules.LearningRateSchedule,
        keras.initializers.Initializer,
        keras.regularizers.Regularizer,
        keras.constraints.Constraint,
    )
    parts = ({"distribution", "parameters_shape"}, {"distribution", "noise_size"}, {"kl_terms", "sample", "get_config"})
    found: dict[str, type] = {}
    for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if info.name.endswith("__main__") or ".horovod" in info.name:
            continue
        module = importlib.import_module(info.name)
        for name, one in vars(module).items():
            own = isinstance(one, type) and one.__module__ == info.name
            protocol = own and getattr(one, "_is_protocol", False)
            if own and not protocol and (issubclass(one, bases) or any(part <= set(dir(one)) for part in parts)):
                found[name] = one
    return found


def require_round_trip(package: str, layer: Any, use: Callable[[Any], Any]) -> None:
    """Check that a layer is registered for its package, and computes the same after it was saved and loaded.

    Args:
        package: that it is registered for.
        layer: of the package, or another object that Keras saves.
        use: takes the layer to arrays; it creates the weights.
    """
    import keras

    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert config["registered_name"] == f"{package}>{type(layer).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    if not hasattr(layer, "get_weights"):
        assert_same(use(layer), use(again))
        return
    use(layer)
    use(again)
    shaken = [w + 0.1 * np.random.default_rng(i).normal(size=w.shape) for i, w in enumerate(layer.get_weights())]
    layer.set_weights(shaken)
    again.set_weights(shaken)
    assert_same(use(layer), use(again))


def assert_same(found: Any, expected: Any) -> None:
    """Compare all arrays of two results."""
    import keras

    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
