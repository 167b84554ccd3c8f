"""Training of two layers with one replica and with two: the same bits. The contract of each model, its plots."""

from __future__ import annotations

import json

import numpy as np
import pytest
from vaeflow_hierarchical import RECIPES

import vaeflow
from vaeflow.cli import main

LEVELS = "model.levels=[{latent_size=3,hidden=[8]},{latent_size=2,hidden=[5]}]"
SHORT = ("dataset=digits", "dataset.train_examples=41", "dataset.test_examples=33", "batch_size=24", "microbatches=6")
QUIET = (
    *("steps=30", "log.tensorboard=false", "log.every_steps=30", "evaluate.every_epochs=15"),
    *("checkpoint.every_steps=30", "verify_every_steps=none"),
)
MODULE = "--plugin=vaeflow_hierarchical"
TOPOLOGIES = {"single": ("strategy=single",), "mirrored": ("strategy=mirrored", "strategy.replicas=2")}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of two stochastic layers; the last batch of an epoch has 17 rows of 24."""
    folder = tmp_path_factory.mktemp("runs")
    for name, strategy in TOPOLOGIES.items():
        model = ("burda-2", "model.normalization=none", "model.levels=[{latent_size=3,hidden=[8]},{latent_size=2}]")
        settings = [*model, "optimizer=sgd", "plots.draw=[]", *SHORT, *QUIET, *strategy]
        assert main(["train", *settings, MODULE, f"--run-dir={folder / name}"]) == 0
    return folder


@pytest.mark.slow
def test_the_same_bits_on_one_replica_and_on_two(runs):
    alone, together = (json.loads((runs / name / "summary.json").read_text()) for name in TOPOLOGIES)
    assert (alone["replicas"], together["replicas"]) == (1, 2)
    for key in ("weights_sha256", "state_sha256", "metrics"):
        assert alone[key] == together[key]
    assert {"test/kl/z1", "test/kl/z2"} <= set(alone["metrics"])


@pytest.mark.repetition
def test_a_trained_ladder_encodes_and_plots(tmp_path):
    run, drawn = tmp_path / "run", "plots.draw=['samples', 'traversals', 'latents']"
    assert main(["train", "ladder-mnist", LEVELS, *SHORT, *QUIET, "threads=1", drawn, MODULE, f"--run-dir={run}"]) == 0
    loaded = vaeflow.load(run, plugins=["vaeflow_hierarchical"])
    x = loaded.prepare(loaded.dataset.test.x[:3])
    assert {name: means.shape for name, means in loaded.encode(x).items()} == {"z2": (3, 2), "z1": (3, 3)}
    assert np.isfinite(loaded.elbo(x, samples=5)).all()
    assert {path.name for path in (run / "plots").iterdir()} == {"samples.png", "traversals.png", "latents.png"}


@pytest.mark.repetition
@pytest.mark.parametrize("model", ["stochastic-layers", "ladder", "residual-hierarchy"])
def test_contract(model, contract):
    contract("model", model, plugin="vaeflow_hierarchical")


@pytest.mark.repetition
@pytest.mark.parametrize("model", ["ladder", "residual-hierarchy"])
@pytest.mark.parametrize("objective", ["{name='iwae',samples=3}", "{name='free-bits',per='group'}"])
def test_objectives_fit(model, objective, tmp_path):
    small = (LEVELS,) if model == "ladder" else ("model.groups=[1]", "model.channels=1", "model.width=4")
    settings = [f"objective={objective}", f"model={model}", *small, *SHORT, *QUIET, "threads=1", "plots.draw=[]"]
    assert main(["train", "mnist-mlp-20", *settings, MODULE, f"--run-dir={tmp_path / 'run'}"]) == 0
    assert np.isfinite(json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]["test/elbo"])


@pytest.mark.repetition
@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_trains(recipe, tmp_path, capfd):
    few = ("steps=2", "threads=1", "dataset.train_examples=200", "dataset.test_examples=100", "strategy=single")
    assert main(["train", recipe, *few, "plots.draw=[]", MODULE, f"--run-dir={tmp_path / 'run'}"]) == 0
    assert "warning" not in capfd.readouterr().out
