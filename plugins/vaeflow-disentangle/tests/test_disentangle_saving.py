"""Keras saves and loads a model with the package's networks; the package has no layers of its own."""

from __future__ import annotations

import numpy as np
import pytest

layer_classes = pytest.importorskip("helpers.layer_classes", reason="needs tests/helpers of the repository of vaeflow")
saved_models = pytest.importorskip("helpers.saved_models")


def test_a_model_is_saved_and_exported(tmp_path):
    assert not layer_classes.layer_classes("vaeflow_disentangle")
    networks = ("encoder={name='conv-64', width=4}", "decoder={name='conv-64', width=4}", "latent_size=2")
    model = saved_models.model_of((16, 16, 1), *networks, plugins=["vaeflow_disentangle"])
    x = np.random.default_rng(2).integers(0, 2, (3, 16, 16, 1)).astype(np.float32)
    saved_models.require_same_when_saved(model, tmp_path, x)
