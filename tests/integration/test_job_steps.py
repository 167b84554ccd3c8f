"""What the replicas of a job compute in a step, and what they are handed in an epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import inside_a_job
from helpers.jobs import TOPOLOGIES, job, usual
from helpers.small_runs import SMALL

PROGRAM = (str(Path(inside_a_job.__file__)),)
TOLERANCE = 1e-6  # of each tensor's norm
pytestmark = pytest.mark.distributed
MORE = (*TOPOLOGIES, pytest.param("mirrored", 4, id="mirrored x4"))


def gradients(folder, kind, count):
    folder.mkdir()
    finished = job(kind, count, "gradients", folder, program=PROGRAM)
    assert set(finished.codes) == {0}, finished.outputs
    return {path.stem: list(np.load(path).values()) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory, mnist_folders):
    return gradients(tmp_path_factory.mktemp("gradients") / "single", "single", 1)


@pytest.mark.parametrize(("kind", "count"), usual(MORE))
def test_gradients_of_automatic_microbatches(tmp_path, on_one_device, kind, count):
    """In float32, whatever the remainder of the batch over the replicas."""
    found = gradients(tmp_path / "job", kind, count)
    assert len(found) == len(inside_a_job.NETWORKS) * len(inside_a_job.BATCHES)
    for name, tensors in found.items():
        for here, alone in zip(tensors, on_one_device[name], strict=True):
            assert np.linalg.norm(here - alone) <= TOLERANCE * np.linalg.norm(alone), name


@pytest.mark.parametrize(("kind", "count"), usual((one for one in TOPOLOGIES if one.values[1] == 2), "horovod x2"))
def test_an_epoch_has_each_example_once_and_no_noise_twice(tmp_path, kind, count):
    """1,003 examples in batches of 20: 51 steps, the last of three examples."""
    data = tmp_path / "numbers.npz"
    numbers = np.arange(1003, dtype=np.float32).reshape(-1, 1, 1, 1) / 1003
    np.savez(data, x_train=numbers, x_test=numbers[:10])
    settings = (*SMALL, "dataset=arrays", f"dataset.path={data}", "binarization=none", "likelihood=gaussian")
    more = ("batch_size=20", "epochs=1", "microbatches=4", "objective.samples=2")
    finished = job(kind, count, "epoch", tmp_path, *settings, *more, program=PROGRAM)
    assert set(finished.codes) == {0}, finished.outputs
    files = [np.load(path) for path in sorted(tmp_path.glob("epoch-*.npz"))]
    assert len(files) == (1 if kind == "mirrored" else count)
    valid = np.concatenate([file["valid"] for file in files]) == 1.0
    x = np.concatenate([file["x"].ravel() for file in files])[valid]
    assert len(x) == 1003
    np.testing.assert_array_equal(np.sort(x), numbers.ravel())
    noise = np.concatenate([file["noise"] for file in files], axis=1)[:, valid].reshape(2 * 1003, -1)
    assert len(np.unique(noise, axis=0)) == len(noise)
    assert abs(noise.mean()) < 0.06  # four deviations of a mean of 4,012 normal numbers
