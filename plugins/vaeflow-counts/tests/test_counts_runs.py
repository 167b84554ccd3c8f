"""Runs of the real command on simulated counts: parameters are recovered; the same bits on any topology."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import scipy.stats
from vaeflow_counts.simulation import simulate

everywhere = pytest.importorskip("helpers.everywhere", reason="needs tests/helpers of the repository of vaeflow")
jobs = pytest.importorskip("helpers.jobs")
small_runs = pytest.importorskip("helpers.small_runs")

DATA = ("dataset={name='simulated-counts', examples=51, features=12}",)
RUN = ("counts-nb", "model={name='counts', hidden=[6], zero_inflation=true}", "--plugin=vaeflow_counts")
ELSEWHERE = ("horovod", 2) if importlib.util.find_spec("horovod") else ("multiworker", 2)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The final state on one device."""
    return everywhere.trained("single", 1, tmp_path_factory.mktemp("alone") / "run", *RUN, data=DATA)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(("kind", "count"), jobs.usual(jobs.TOPOLOGIES, "mirrored x2"))
def test_the_same_bits_on_any_topology(kind, count, alone, tmp_path):
    assert everywhere.trained(kind, count, tmp_path / "run", *RUN, data=DATA) == alone


@pytest.mark.repetition
@pytest.mark.distributed
def test_killed_and_resumed_on_another_strategy(alone, tmp_path):
    assert everywhere.killed_and_resumed(*ELSEWHERE, tmp_path, *RUN, data=DATA) == alone


@pytest.mark.slow
def test_the_parameters_are_recovered(tmp_path):
    """Of 3,200 examples in 4 groups: their expected counts, the dispersions, and nearly the true likelihood."""
    import vaeflow

    run = tmp_path / "run"
    settings = ("log.tensorboard=false", "plots.draw=[]", "evaluate.every_epochs=60")
    done = small_runs.vaeflow("train", "counts-nb", *settings, "--plugin=vaeflow_counts", "--run-dir", run)
    assert done.returncode == 0, done.stderr
    loaded = vaeflow.load(run, plugins=["vaeflow_counts"])
    truth = simulate(4000, 100, 4, 2, total=1000.0, dispersion=2.0, seed=0)
    x, batch = truth.counts[truth.train :], truth.batch[truth.train :]
    model = loaded.experiment.model
    labels = np.eye(2, dtype=np.float32)[batch]
    p = model.terms(x, np.zeros((1, len(x), 5), np.float32), labels=labels).p_x
    means = truth.means[truth.train :]
    assert np.corrcoef(np.log(p.mean()[0]).ravel(), np.log(means).ravel())[0, 1] > 0.97
    theta = np.exp(model.likelihood.log_dispersion.numpy())
    assert scipy.stats.spearmanr(theta, truth.dispersion)[0] > 0.8
    assert 0.8 < np.median(theta / truth.dispersion) < 1.25
    of_truth = scipy.stats.nbinom.logpmf(x, truth.dispersion, truth.dispersion / (truth.dispersion + means)).sum(1)
    gap = (loaded.elbo(x, labels=batch, samples=5) - of_truth).mean()
    assert -12.0 < gap < 0.0  # nats: the ELBO has the group to infer, which the truth is given
