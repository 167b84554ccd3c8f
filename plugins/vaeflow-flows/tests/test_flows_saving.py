"""Keras saves and loads each layer, and models with flows as posterior and prior."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from vaeflow_flows import posteriors, priors
from vaeflow_flows.bases import ColumnsHead, Order
from vaeflow_flows.conditioner import Conditioner
from vaeflow_flows.coupling import CouplingStep
from vaeflow_flows.full_gaussian import FullGaussianHead
from vaeflow_flows.iaf import InverseAutoregressiveStep
from vaeflow_flows.layers import MaskedDense
from vaeflow_flows.maf import MaskedAutoregressiveStep
from vaeflow_flows.masks import autoregressive
from vaeflow_flows.planar import PlanarStep
from vaeflow_flows.sylvester import SylvesterStep, UpperTriangle

layer_classes = pytest.importorskip("helpers.layer_classes", reason="needs tests/helpers of the repository of vaeflow")
saved_models = pytest.importorskip("helpers.saved_models")

FEATURES = tf.constant(np.random.default_rng(0).normal(size=(2, 5)), tf.float32)
Z = tf.constant(np.random.default_rng(1).normal(size=(4, 2, 3)), tf.float32)
MASKS = autoregressive(3, (4, 6), reverse=False)
BASES = {"Layer", "ConditionedStep", "AutoregressiveStep"}
"""Base classes without weights of their own."""


def moved(step):
    """Return the image of latents by a step that is given features."""
    return step.given(FEATURES).forward(Z)


def drawn(head):
    """Return samples of a posterior and their density."""
    q = head.distribution(FEATURES)
    return q.sample_and_log_prob(Z)


LAYERS = {
    "MaskedDense": (lambda: MaskedDense(MASKS[0], "m", bias=False, kernel="he_normal"), lambda layer: layer(Z)),
    "Conditioner": (lambda: Conditioner(MASKS, "relu", conditional=True), lambda c: c.given(FEATURES)(Z)),
    "PlanarStep": (lambda: PlanarStep(3, number=2), moved),
    "CouplingStep": (lambda: CouplingStep(3, (4,), "tanh", number=1), moved),
    "InverseAutoregressiveStep": (lambda: InverseAutoregressiveStep(3, (4,), "tanh", number=1), moved),
    "MaskedAutoregressiveStep": (lambda: MaskedAutoregressiveStep(3, (4,), "tanh", number=0), moved),
    "ColumnsHead": (lambda: ColumnsHead(3, 2, "orthonormal"), lambda head: head.given(FEATURES).matrix),
    "UpperTriangle": (
        lambda: UpperTriangle(3, "t", kernel="glorot_uniform", bias=keras.initializers.RandomNormal(stddev=0.2)),
        lambda layer: layer.given(FEATURES),
    ),
    "SylvesterStep": (lambda: SylvesterStep(2, ColumnsHead(3, 2, "orthonormal"), number=0), moved),
    "FlowHead": (lambda: posteriors.planar(3, depth=2), drawn),
    "FullGaussianHead": (lambda: FullGaussianHead(3), drawn),
    "FlowPrior": (lambda: priors.real_nvp(3, depth=2, hidden=(4,)), lambda prior: prior.log_prob(Z)),
}


def test_every_layer_is_tried_here():
    assert set(layer_classes.layer_classes("vaeflow_flows")) == {*LAYERS, *BASES}
    assert not layer_classes.unsaved_classes("vaeflow_flows")


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_the_same_after_a_round_trip(name):
    make, use = LAYERS[name]
    layer_classes.require_round_trip("vaeflow_flows", make(), use)


@pytest.mark.parametrize("order", [Order(reverse=True), Order(reverse=False)])
def test_a_step_without_columns_is_saved(order):
    layer_classes.require_round_trip("vaeflow_flows", SylvesterStep(3, order, number=0), moved)


@pytest.mark.parametrize(
    ("posterior", "prior"),
    [
        ("sylvester", "real-nvp"),
        *(pytest.param(q, "maf", marks=pytest.mark.repetition) for q in ("planar", "iaf", "maf", "coupling")),
    ],
)
def test_a_model_with_flows_is_saved_and_exported(posterior, prior, tmp_path):
    flows = (f"posterior={posterior}", "posterior.depth=1", f"prior={prior}", "prior.depth=1", "prior.hidden=[4]")
    model = saved_models.model_of((4, 4, 1), *saved_models.MLP, *flows, plugins=["vaeflow_flows"])
    x = np.random.default_rng(2).integers(0, 2, (3, 4, 4, 1)).astype(np.float32)
    saved_models.require_same_when_saved(model, tmp_path, x)
