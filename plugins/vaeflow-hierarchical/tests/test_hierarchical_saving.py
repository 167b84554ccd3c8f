"""Keras saves and loads each layer, and the models with their groups of latents."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from vaeflow_hierarchical.maps import ClassMaps, Start

layer_classes = pytest.importorskip("helpers.layer_classes", reason="needs tests/helpers of the repository of vaeflow")
saved_models = pytest.importorskip("helpers.saved_models")

LEVELS = "levels=[{latent_size=2, hidden=[3]}, {latent_size=1, hidden=[2]}]"
MODELS = {
    "stochastic-layers": f"model={{name='stochastic-layers', {LEVELS}, normalization='batch'}}",
    "ladder": f"model={{name='ladder', {LEVELS}}}",
    "residual-hierarchy": "model={name='residual-hierarchy', groups=[1, 2], channels=1, width=3}",
}


def test_the_layers_are_the_same_after_a_round_trip():
    models = {"Ladder", "ResidualHierarchy", "StochasticLayers"}
    assert set(layer_classes.layer_classes("vaeflow_hierarchical")) == {"ClassMaps", "Start", "LevelsModel", *models}
    assert not layer_classes.unsaved_classes("vaeflow_hierarchical")
    layer_classes.require_round_trip("vaeflow_hierarchical", Start((2, 2, 3)), lambda start: start(tf.constant(2)))
    layer_classes.require_round_trip("vaeflow_hierarchical", ClassMaps((2, 2, 3)), lambda maps: maps(tf.eye(4)))


@pytest.mark.parametrize(
    "name", ["ladder", *(pytest.param(one, marks=pytest.mark.repetition) for one in MODELS if one != "ladder")]
)
def test_a_model_is_saved_and_exported(name, tmp_path):
    model = saved_models.model_of((4, 8, 1), MODELS[name], plugins=["vaeflow_hierarchical"])
    x = np.random.default_rng(2).integers(0, 2, (3, 4, 8, 1)).astype(np.float32)
    saved_models.require_same_when_saved(model, tmp_path, x)


@pytest.mark.parametrize(
    "name",
    [
        "residual-hierarchy",
        *(pytest.param(one, marks=pytest.mark.repetition) for one in ("stochastic-layers", "ladder")),
    ],
)
def test_a_conditional_model_is_saved_and_exported(name, tmp_path):
    model = saved_models.model_of((4, 8, 1), MODELS[name], classes=3, plugins=["vaeflow_hierarchical"])
    x = np.random.default_rng(2).integers(0, 2, (3, 4, 8, 1)).astype(np.float32)
    saved_models.require_same_when_saved(model, tmp_path, x, np.array([0, 2, 1]))
