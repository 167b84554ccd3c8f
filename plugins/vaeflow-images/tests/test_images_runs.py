"""Runs of the real command: the same bits of model and discriminator on any topology."""

from __future__ import annotations

import importlib.util

import pytest

everywhere = pytest.importorskip("helpers.everywhere", reason="needs tests/helpers of the repository of vaeflow")
jobs = pytest.importorskip("helpers.jobs")

RUN = (
    *("kl-f4-shapes", "model={name='autoencoder-kl', channels=1, widths=[4]}", "likelihood=beta-binomial"),
    *("objective={name='adversarial', widths=[4], start=10}", "metrics=['bits-per-dimension']"),
    "--plugin=vaeflow_images",
)
ELSEWHERE = ("horovod", 2) if importlib.util.find_spec("horovod") else ("multiworker", 2)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The final state on one device."""
    return everywhere.trained("single", 1, tmp_path_factory.mktemp("alone") / "run", *RUN)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(("kind", "count"), jobs.usual(jobs.TOPOLOGIES, "mirrored x2"))
def test_the_same_bits_on_any_topology(kind, count, alone, tmp_path):
    assert everywhere.trained(kind, count, tmp_path / "run", *RUN) == alone


@pytest.mark.repetition
@pytest.mark.distributed
def test_killed_and_resumed_on_another_strategy(alone, tmp_path):
    assert everywhere.killed_and_resumed(*ELSEWHERE, tmp_path, *RUN) == alone
