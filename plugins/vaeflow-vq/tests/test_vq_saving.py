"""Keras saves and loads each layer, and the model with its codebook."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from vaeflow_vq.codebook import Codebook
from vaeflow_vq.priors import Autoregressive, CodePrior, Independent, MaskedConvolution

layer_classes = pytest.importorskip("helpers.layer_classes", reason="needs tests/helpers of the repository of vaeflow")
saved_models = pytest.importorskip("helpers.saved_models")

CODES = tf.constant([[0, 1, 2, 3, 4, 0], [4, 4, 1, 0, 2, 3]])
OUTPUTS = tf.constant(np.random.default_rng(0).normal(size=(2, 6, 3)), tf.float32)
MAPS = tf.constant(np.random.default_rng(1).normal(size=(2, 2, 3, 4)), tf.float32)
LAYERS = {
    "Codebook": (
        lambda: Codebook(5, 3, positions=6, decay=0.9, restart_below=0.1),
        lambda book: book(OUTPUTS, tf.ones((2,))),
    ),
    "CodePrior": (lambda: CodePrior((2, 3), 5), lambda prior: prior.log_prob(CODES)),
    "Independent": (lambda: Independent((2, 3), 5), lambda prior: prior.log_prob(CODES)),
    "Autoregressive": (lambda: Autoregressive((2, 3), 5, width=4, layers=2), lambda prior: prior.log_prob(CODES)),
    "MaskedConvolution": (lambda: MaskedConvolution(4, 6, side=3, sees_itself=True), lambda layer: layer(MAPS)),
}


def test_every_layer_is_tried_here():
    assert set(layer_classes.layer_classes("vaeflow_vq")) == {*LAYERS, "VectorQuantized"}
    assert not layer_classes.unsaved_classes("vaeflow_vq")


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_the_same_after_a_round_trip(name):
    make, use = LAYERS[name]
    layer_classes.require_round_trip("vaeflow_vq", make(), use)


def test_a_model_is_saved_and_exported(tmp_path):
    small = "model={name='vq', codes=6, code_size=3, width=4, prior_width=4, prior_layers=1}"
    model = saved_models.model_of((8, 8, 1), small, plugins=["vaeflow_vq"])
    assert model.posterior_noise_size == 0
    x = np.random.default_rng(2).integers(0, 2, (3, 8, 8, 1)).astype(np.float32)
    saved_models.require_same_when_saved(model, tmp_path, x)
