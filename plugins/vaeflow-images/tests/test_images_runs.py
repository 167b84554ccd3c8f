"""Runs of the real command, with a perceptual loss: the same bits of model and discriminator on any topology."""

from __future__ import annotations

import importlib.util
import warnings

import pytest

everywhere = pytest.importorskip("helpers.everywhere", reason="needs tests/helpers of the repository of vaeflow")
jobs = pytest.importorskip("helpers.jobs")

RUN = (
    *("kl-f4-shapes", "model={name='autoencoder-kl', channels=1, widths=[4]}", "likelihood=beta-binomial"),
    *("metrics=['bits-per-dimension']", "--plugin=vaeflow_images"),
)
ELSEWHERE = ("horovod", 2) if importlib.util.find_spec("horovod") else ("multiworker", 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The arguments of `train`."""
    import keras

    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("features") / "features.keras"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of NumPy, by Keras's save itself
        keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(3, 3, activation="relu")]).save(path)
    objective = f"{{name='adversarial', widths=[4], start=5, features='{path}', perceptual_weight=10.0}}"
    return (*RUN, f"objective={objective}")


@pytest.fixture(scope="module")
def alone(tmp_path_factory, run):
    """The final state on one device."""
    return everywhere.trained("single", 1, tmp_path_factory.mktemp("alone") / "run", *run)


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(("kind", "count"), jobs.usual(jobs.TOPOLOGIES, "mirrored x2"))
def test_the_same_bits_on_any_topology(kind, count, run, alone, tmp_path):
    assert everywhere.trained(kind, count, tmp_path / "run", *run) == alone


@pytest.mark.repetition
@pytest.mark.distributed
def test_killed_and_resumed_on_another_strategy(run, alone, tmp_path):
    assert everywhere.killed_and_resumed(*ELSEWHERE, tmp_path, *run) == alone
