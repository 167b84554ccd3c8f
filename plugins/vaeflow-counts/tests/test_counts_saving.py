"""Keras saves and loads the layer, and the model with its batches and its average total."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from vaeflow_counts.heads import DispersedCounts

layer_classes = pytest.importorskip("helpers.layer_classes", reason="needs tests/helpers of the repository of vaeflow")
saved_models = pytest.importorskip("helpers.saved_models")

COUNTS = np.random.default_rng(0).poisson(4.0, (3, 6)).astype(np.float32)


@pytest.mark.parametrize("zeros", [True, False])
def test_the_layer_is_the_same_after_a_round_trip(zeros):
    assert set(layer_classes.layer_classes("vaeflow_counts")) == {"DispersedCounts", "CountsModel"}
    assert not layer_classes.unsaved_classes("vaeflow_counts")
    logs = tf.constant(np.random.default_rng(1).normal(size=(3, 12 if zeros else 6)), tf.float32)
    layer = DispersedCounts((6,), 1.0, 2.0, zeros=zeros)
    layer_classes.require_round_trip("vaeflow_counts", layer, lambda one: one.distribution(logs).log_prob(COUNTS))


def test_a_model_is_saved_and_exported(tmp_path):
    settings = ("model={name='counts', hidden=[4], zero_inflation=true}", "latent_size=2", "binarization=none")
    model = saved_models.model_of((6,), *settings, classes=2, plugins=["vaeflow_counts"])
    saved_models.require_same_when_saved(model, tmp_path, COUNTS, np.array([0, 1, 1]))
