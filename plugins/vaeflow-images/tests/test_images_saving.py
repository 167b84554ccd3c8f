"""Keras saves and loads the model whose latents are maps; the package has no other layers."""

from __future__ import annotations

import numpy as np
import pytest

layer_classes = pytest.importorskip("helpers.layer_classes", reason="needs tests/helpers of the repository of vaeflow")
saved_models = pytest.importorskip("helpers.saved_models")


def test_a_model_is_saved_and_exported(tmp_path):
    assert set(layer_classes.layer_classes("vaeflow_images")) == {"AutoencoderKL"}
    assert not layer_classes.unsaved_classes("vaeflow_images")
    settings = ("model={name='autoencoder-kl', channels=1, widths=[4]}", "likelihood=beta-binomial")
    model = saved_models.model_of((4, 4, 3), *settings, "binarization=none", plugins=["vaeflow_images"])
    x = (np.random.default_rng(2).integers(0, 256, (3, 4, 4, 3)) / 255).astype(np.float32)
    saved_models.require_same_when_saved(model, tmp_path, x)
