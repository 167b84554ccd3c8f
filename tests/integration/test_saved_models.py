"""Models that are saved by one process give the run's numbers in another, which has no run and no data."""

from __future__ import annotations

import os
import shutil
import subprocess
from textwrap import dedent

import numpy as np
import pytest
from helpers.small_runs import python, train, write_digits

import vaeflow

EXAMPLES = 100
GIVEN = """
    import sys
    import numpy as np
    given = np.load("given.npz")
    x, labels, noise, of_elbo, z = (given[name] for name in ("x", "labels", "noise", "of_elbo", "z"))
"""
BY_KERAS = """
    import keras
    from vaeflow import GenerativeModel

    model, encoder, decoder = (keras.models.load_model(f"{name}.keras") for name in ("model", "encoder", "decoder"))
    assert isinstance(model, GenerativeModel)
    found = {
        "expected": model(x, labels),
        "z": model.encode(x, labels),
        "encoder": encoder(x, labels),
        "decoder": decoder(z, labels),
        "sampled": model.generate(noise, labels),
        "elbo": model.elbo(x, labels, noise=of_elbo),
    }
"""
BY_TENSORFLOW = """
    import tensorflow as tf

    model, encoder, decoder = (tf.saved_model.load(name) for name in ("model", "encoder", "decoder"))
    assert set(model.signatures) == {"serve", "encode", "decode", "sample", "elbo", "log_prob", "serving_default"}
    served = model.signatures["serving_default"](x=tf.constant(x[:3]), labels=tf.constant(labels[:3]))
    assert served["output_0"].shape == (3, 28, 28, 1)
    found = {
        "expected": model.serve(x, labels),
        "z": model.encode(x, labels),
        "encoder": encoder.serve(x, labels),
        "decoder": decoder.serve(z, labels),
        "sampled": model.sample(noise, labels),
        "elbo": model.elbo(x, of_elbo, labels),
    }
    assert "vaeflow" not in sys.modules
"""
WRITE = """
    np.savez("found.npz", **{name: np.asarray(one) for name, one in found.items()})
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory, mnist_content):
    """A folder with a run's models and what the run gave, and nothing of the run."""
    from vaeflow.data.noise import Noise

    folder = tmp_path_factory.mktemp("saved")
    data = write_digits(folder / "digits.npz", mnist_content, test=EXAMPLES)
    settings = ("steps=4", "ema=0.5", "condition.labels=true", "prior={name='diagonal-gaussian', per_class=true}")
    run = vaeflow.load(train(folder / "run", data, *settings))
    x, labels = run.examples(), run.labels().astype(np.int64)
    z, model = run.encode(x, labels=labels), run.model
    noise = np.random.default_rng(0).normal(size=(EXAMPLES, model.noise_size)).astype(np.float32)
    of_elbo = np.reshape(Noise(3, "elbo").normal(0, 0, 2 * EXAMPLES, 2), (EXAMPLES, 2, 2))
    np.savez(folder / "given.npz", x=x, labels=labels, noise=noise, of_elbo=of_elbo, z=z)
    for name in ("model", "encoder", "decoder"):
        getattr(run, name).save(folder / f"{name}.keras")
        getattr(run, name).export(folder / name)
    shutil.rmtree(folder / "run")
    data.unlink()
    expected = run.reconstruct(x, labels=labels)
    return folder, {
        "expected": expected,
        "z": z,
        "encoder": z,
        "decoder": expected,
        "sampled": run.trained.generate(noise, labels=labels),
        "elbo": run.elbo(x, samples=2, seed=3, labels=labels),
    }


@pytest.mark.slow
@pytest.mark.parametrize("load", [BY_KERAS, BY_TENSORFLOW], ids=["keras", "tensorflow"])
def test_a_process_without_the_run_gets_its_numbers(load, saved):
    folder, expected = saved
    code = dedent(GIVEN) + dedent(load) + dedent(WRITE)
    empty = {**os.environ, "VAEFLOW_CACHE_DIR": str(folder / "none"), "VAEFLOW_DATA_DIR": str(folder / "none")}
    done = subprocess.run(
        [*python(plain=True), "-c", code], cwd=folder, env=empty, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = np.load(folder / "found.npz")
    for name, one in expected.items():
        assert len(found[name]) == EXAMPLES
        np.testing.assert_allclose(found[name], one, rtol=2e-6, atol=1e-6, err_msg=name)
