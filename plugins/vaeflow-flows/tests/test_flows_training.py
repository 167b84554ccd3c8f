"""Posteriors and priors in runs of the real command on real digits: the same bits from one device and from two."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
from helpers.fork_server import server

from vaeflow.data.sets import Folders
from vaeflow.data.sets.content import read_content
from vaeflow.data.sets.fetch import fetch

SELECTED = {
    "planar": ("posterior.depth=2",),
    "sylvester": ("posterior.depth=1", "prior=real-nvp", "prior.depth=2", "prior.hidden=[8]"),
    "iaf": ("posterior.depth=1", "posterior.hidden=[8]", "precision=mixed_bfloat16"),
    "maf": ("posterior.depth=1", "posterior.hidden=[8]", "prior=maf", "prior.depth=1", "prior.hidden=[8]"),
    "coupling": ("posterior.depth=2", "posterior.hidden=[8]"),
    "full-gaussian": (),
}
USUAL = ("sylvester", "iaf")
"""Those that are trained without --all."""
TINY = ("latent_size=3", "encoder.hidden=[8]", "decoder.hidden=[8]", "batch_size=16", "steps=4", "objective.samples=2")
QUIET = ("optimizer=sgd", "log.tensorboard=false", "plots.draw=[]", "callbacks=[]")
TOPOLOGIES = {"single": ("strategy=single",), "mirrored": ("strategy=mirrored", "strategy.replicas=2")}
TRAIN = "import json, sys; from vaeflow.cli import main; sys.exit(max(map(main, json.load(sys.stdin))))"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The first 41 training digits and 33 test digits: the last batches are short."""
    folders = Folders.default()
    fetch("mnist", folders)
    content = read_content(folders.cache / "mnist.npz")
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(path, x_train=content.x_train[:41], x_test=content.x_test[:33])
    return path


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory, digits):
    """A folder with a run of each posterior on each topology; one process a topology, at the same time."""
    chosen = SELECTED if request.config.getoption("--all") else USUAL
    folder = tmp_path_factory.mktemp("runs")
    common = ("dataset=arrays", f"dataset.path={digits}", "microbatches=4", *TINY, *QUIET)
    processes = []
    for topology, settings in TOPOLOGIES.items():
        shared = [*common, *settings]
        commands = [
            ["train", "mnist-mlp-20", f"--run-dir={folder / topology / name}", f"posterior={name}", *own, *shared]
            for name, own in SELECTED.items()
            if name in chosen
        ]
        process = subprocess.Popen([*server().python, "-c", TRAIN], stdin=subprocess.PIPE, text=True)
        process.stdin.write(json.dumps(commands))
        process.stdin.close()
        processes.append(process)
    assert [process.wait(timeout=500) for process in processes] == [0, 0]
    return folder


@pytest.mark.distributed
@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name in USUAL else pytest.param(name, marks=pytest.mark.repetition) for name in SELECTED]
)
def test_it_trains_with_the_same_bits_on_one_replica_and_on_two(runs, name):
    alone, together = (json.loads((runs / topology / name / "summary.json").read_text()) for topology in TOPOLOGIES)
    assert together["replicas"] == 2
    for key in ("weights_sha256", "state_sha256", "metrics"):
        assert alone[key] == together[key]
    assert all(np.isfinite(value) for value in alone["metrics"].values())
    environment = json.loads((runs / "single" / name / "environment.json").read_text())
    assert "vaeflow-flows" in json.dumps(environment)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iaf", "sylvester"])
def test_a_trained_flow_evaluates_encodes_and_samples(runs, name):
    import vaeflow

    run = vaeflow.load(runs / "single" / name)
    x = run.prepare(run.dataset.test.x[:3])
    assert run.encode(x).shape == (3, 3)
    assert np.isfinite(run.elbo(x, samples=5)).all()
    assert run.sample(2).shape == (2, 28, 28, 1)
