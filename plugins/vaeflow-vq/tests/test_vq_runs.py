"""Runs of the real command on real digits: the same bits, codes and restarts on any topology."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from vaeflow.plugins.registry import Registry

everywhere = pytest.importorskip("helpers.everywhere", reason="needs tests/helpers of the repository of vaeflow")
jobs = pytest.importorskip("helpers.jobs")

SMALL = "model={name='vq', codes=8, code_size=4, width=8, prior_width=8, prior_layers=1, restart_below=0.5, decay=0.9}"
RUN = ("vq-digits", SMALL, "--plugin=vaeflow_vq")
ELSEWHERE = ("horovod", 3) if importlib.util.find_spec("horovod") else ("mirrored", 3)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run on one device."""
    run = tmp_path_factory.mktemp("alone") / "run"
    everywhere.trained("single", 1, run, *RUN)
    return run


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(("kind", "count"), jobs.usual(jobs.TOPOLOGIES, "mirrored x2"))
def test_the_same_bits_on_any_topology(kind, count, alone, tmp_path):
    """Codes have died, and were drawn again, on the way."""
    assert everywhere.trained(kind, count, tmp_path / "run", *RUN) == everywhere.state_of(alone)


@pytest.mark.repetition
@pytest.mark.distributed
def test_killed_and_resumed_on_another_strategy(alone, tmp_path):
    assert everywhere.killed_and_resumed(*ELSEWHERE, tmp_path, *RUN) == everywhere.state_of(alone)


@pytest.mark.slow
def test_a_run_encodes_decodes_and_samples(alone):
    import vaeflow

    run = vaeflow.load(alone, plugins=["vaeflow_vq"])
    book = run.experiment.model.codebook
    assert float(book.restarts) >= 1.0
    x = run.prepare(run.dataset.test.x[:5])
    z = run.encode(x)
    assert z.shape[0] == 5
    vectors = np.asarray(z).reshape(-1, book.size)
    gaps = np.abs(vectors[:, None] - book.table().numpy()).max(-1).min(-1)
    np.testing.assert_allclose(gaps, 0.0, atol=1e-5)
    assert run.sample(3).shape == (3, *x.shape[1:])
    assert np.isfinite(run.elbo(x)).all()


def test_it_is_registered_with_its_recipes():
    registry = Registry.load(["vaeflow_vq"])
    assert registry.get("model", "vq").summary.endswith("2017).")
    assert registry.get("metric", "code-perplexity").summary.endswith(".")
