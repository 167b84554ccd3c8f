"""TensorFlow with two logical CPUs, so that runs with one replica and with two fit into this process; small models."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from vaeflow_hierarchical import models
from vaeflow_hierarchical.models import Level

from vaeflow.components import likelihoods
from vaeflow.distributed.strategies.mirrored import make_logical_cpus
from vaeflow.runtime.tensorflow_setup import Runtime, start_tensorflow

start_tensorflow(Runtime(threads=1))
make_logical_cpus(2)

TINY = {
    "stochastic-layers": (models.stochastic_layers, {"levels": (Level(1, (3,)), Level(1, (2,)))}),
    "ladder": (models.ladder, {"levels": (Level(1, (3,)), Level(1, (2,))), "normalization": "none"}),
    "residual-hierarchy": (models.residual_hierarchy, {"groups": (2,), "channels": 1, "width": 3}),
}


def context(x_shape, classes=0, likelihood=likelihoods.bernoulli):
    """What a model is built from."""
    return SimpleNamespace(x_shape=x_shape, classes=classes, parts=SimpleNamespace(likelihood=likelihood))


def shaken(model, seed=1):
    """Move all weights away from their initial values, after a call that creates them."""
    import tensorflow as tf

    from vaeflow.model.latents import zero_inputs

    x, noise, labels = zero_inputs(model, rows=2, classes=model.classes)
    model.terms(x, noise, labels=labels, valid=tf.ones((2,)))
    rng = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return model


@pytest.fixture(name="context", scope="session")
def context_fixture():
    """A function that returns what a model is built from."""
    return context


@pytest.fixture(params=[(name, classes) for name in TINY for classes in (0, 3)], ids=str, scope="module")
def tiny(request):
    """Each model with two groups of one latent, for images of 2 by 2 pixels, without labels and with three classes."""
    keras.utils.set_random_seed(0)
    name, classes = request.param
    build, options = TINY[name]
    return shaken(build(context((2, 2, 1), classes=classes), **options))
