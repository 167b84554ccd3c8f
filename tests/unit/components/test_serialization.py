"""Keras saves and loads each layer of ours, and networks that are made of them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers.layer_classes import keras_classes, require_round_trip, unsaved_classes

import vaeflow.training.keras_models
from vaeflow.components import likelihoods, networks
from vaeflow.components.convolutions import Conv2D, Conv2DTranspose
from vaeflow.components.heads import DiagonalGaussianHead, SharedScaleHead, SharedVarianceHead
from vaeflow.components.layers import Bias
from vaeflow.components.learned_priors import DiagonalGaussianPrior, MixtureOfGaussiansPrior
from vaeflow.components.vamp_prior import VampPrior
from vaeflow.contracts import PriorContext
from vaeflow.model.distributions import DiagonalNormal, StandardNormal

IMAGES = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), tf.float32)
VECTORS = tf.constant(np.random.default_rng(1).normal(size=(2, 3)), tf.float32)
NO_PART = {"_Call", "MixturePrior", "ParametricLikelihood", "SavedByArguments"}
"""A call around a computation, which is in no model; classes that others derive from."""
BY_CONFIG = {"RunModel", "GenerativeModel", "Encoder", "Decoder", "VAE"}
"""Models: test_keras_model.py."""


def connected(prior, classes=0):
    """Return what a prior gives once it is connected to a posterior."""
    if not prior.weights:
        shape = (4, 4, 3)
        prior.connect(PriorContext(shape, classes, lambda x: DiagonalNormal(x[:, 0, 0], x[:, 1, 1])))
    return prior.given(tf.one_hot([0, 1], classes)).mean() if classes else prior.log_prob(VECTORS)


LAYERS = {
    "Bias": (lambda: Bias(name="b", dtype="mixed_bfloat16"), lambda layer: layer(IMAGES)),
    "Conv2D": (lambda: Conv2D(5, 5, strides=2, name="c", dtype="float32"), lambda layer: layer(IMAGES)),
    "Conv2DTranspose": (lambda: Conv2DTranspose(2, strides=2), lambda layer: layer(IMAGES)),
    "DiagonalGaussianHead": (lambda: DiagonalGaussianHead(4), lambda layer: layer.distribution(VECTORS).log_var),
    "SharedVarianceHead": (lambda: SharedVarianceHead((3,), 0.3), lambda q: q.distribution(VECTORS).log_prob(VECTORS)),
    "SharedScaleHead": (lambda: SharedScaleHead((3,), 0.3), lambda q: q.distribution(VECTORS).log_prob(VECTORS)),
    "DiagonalGaussianPrior": (lambda: DiagonalGaussianPrior(3, per_class=True), lambda p: connected(p, classes=2)),
    "MixtureOfGaussiansPrior": (lambda: MixtureOfGaussiansPrior(3, 4, 0.5), lambda p: p.log_prob(VECTORS)),
    "VampPrior": (lambda: VampPrior(5, 0.2, 0.1), connected),
    "StandardNormal": (lambda: StandardNormal(3), lambda p: p.log_prob(VECTORS)),
}
LIKELIHOODS = {
    "BernoulliLikelihood": likelihoods.bernoulli,
    "ContinuousBernoulliLikelihood": likelihoods.continuous_bernoulli,
    "AroundMeansLikelihood": lambda shape: likelihoods.laplace(shape, variance="decoded", scale=0.3),
    "PoissonLikelihood": lambda shape: likelihoods.poisson(shape, counts_per_unit=2.0),
    "CategoricalLikelihood": lambda shape: likelihoods.categorical(shape, levels=3),
    "DiscretizedLogisticMixtureLikelihood": lambda shape: likelihoods.discretized_logistic_mixture(shape, mixtures=2),
}


def test_every_class_is_tried_here():
    assert set(keras_classes("vaeflow")) == {*LAYERS, *LIKELIHOODS, *NO_PART, *BY_CONFIG}


def test_every_class_has_its_own_config_and_is_registered():
    assert unsaved_classes("vaeflow") == {"_Call"}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_likelihood_is_the_same_after_a_round_trip(name):
    likelihood = LIKELIHOODS[name]((4, 4, 3))
    parameters = tf.constant(np.random.default_rng(3).normal(size=(2, *likelihood.parameters_shape)), tf.float32)
    require_round_trip("vaeflow", likelihood, lambda one: one.distribution(parameters).log_prob(tf.round(IMAGES) ** 2))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_the_same_after_a_round_trip(name):
    make, use = LAYERS[name]
    require_round_trip("vaeflow", make(), use)


def test_importing_the_models_registers_them():
    modules = {module.__name__ for module in vaeflow.training.keras_models.REGISTERED}
    found = keras_classes("vaeflow")
    assert {found[name].__module__ for name in (*LAYERS, *LIKELIHOODS, "VAE")} == modules


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # by Keras's save itself
@pytest.mark.parametrize(
    ("network", "inputs"),
    [
        (lambda: networks.conv_mnist_encoder((8, 8, 1), width=4), (8, 8, 1)),
        (lambda: networks.conv_mnist_decoder(3, (8, 8, 2)), (3,)),
        (lambda: networks.mlp_encoder((4, 2), hidden=(5, 3), normalization="batch"), (4, 2)),
        (lambda: networks.mlp_decoder(3, (4, 2), hidden=(5,), normalization="layer"), (3,)),
    ],
    ids=["conv-mnist encoder", "conv-mnist decoder", "mlp encoder", "mlp decoder"],
)
def test_a_network_alone_is_saved_and_loaded(network, inputs, tmp_path):
    made = network()
    made.set_weights([w + 0.1 * np.random.default_rng(i).random(w.shape) for i, w in enumerate(made.get_weights())])
    made.save(tmp_path / "network.keras")
    x = np.random.default_rng(2).normal(size=(3, *inputs)).astype(np.float32)
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "network.keras")(x), made(x))
