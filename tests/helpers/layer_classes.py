"""The Keras layers of a package, and whether one is the same after Keras has saved and loaded it."""

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
    """Return the layers that the modules of a package define, by name, without latent-variable models.

    Such a model is made of plain Python objects, too. It is saved by `run.model`, which builds it from its config.
    """
    import keras

    found: dict[str, type[keras.Layer]] = {}
    for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if info.name.endswith("__main__") or ".horovod" in info.name:
            continue
        module = importlib.import_module(info.name)
        for name, one in vars(module).items():
            own = isinstance(one, type) and one.__module__ == info.name
            if own and issubclass(one, keras.Layer) and not hasattr(one, "terms"):
                found[name] = one
    return found


def require_round_trip(package: str, layer: keras.Layer, use: Callable[[Any], Any]) -> None:
    """Check that a layer is registered for its package, and computes the same after it was saved and loaded.

    Args:
        package: that it is registered for.
        layer: of the package.
        use: takes the layer to arrays; it creates the weights.
    """
    import keras

    config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
    assert config["registered_name"] == f"{package}>{type(layer).__name__}"
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(layer)
    assert again.get_config() == layer.get_config()
    use(layer)
    use(again)
    shaken = [w + 0.1 * np.random.default_rng(i).normal(size=w.shape) for i, w in enumerate(layer.get_weights())]
    layer.set_weights(shaken)
    again.set_weights(shaken)
    for one, other in zip(keras.tree.flatten(use(layer)), keras.tree.flatten(use(again)), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
