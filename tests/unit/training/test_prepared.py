"""Stored examples are not taken for prepared ones, whatever prepares them."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
from helpers.small_runs import on, write_digits

import vaeflow as vf

PLUGIN = '''
from vaeflow import Component, hookimpl


def signed():
    """Pixels from -1 to 1."""

    class Signed:
        noise = "none"

        def __call__(self, pixels, noise):
            return 2.0 * pixels - 1.0

    return Signed()


@hookimpl
def vaeflow_components():
    yield Component("binarization", "signed", signed)
'''
BINARY = r"prepared examples are 0 or 1; run\.examples\(\"test\"\) returns prepared examples, run\.prepare\(pixels\) "


@pytest.fixture(scope="module")
def data(tmp_path_factory, mnist_content):
    return write_digits(tmp_path_factory.mktemp("data") / "digits.npz", mnist_content)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, data):
    return trained(tmp_path_factory.mktemp("binary") / "run", data)


def trained(run_dir, data, *settings, plugins=()):
    return vf.train(
        "mnist-2d", overrides=on(data, "steps=1", "plots.draw=[]", *settings), run_dir=run_dir, plugins=plugins
    )


@pytest.mark.slow
def test_examples_are_what_evaluations_see(loaded):
    x = loaded.examples("test", count=5)
    np.testing.assert_array_equal(x, loaded.dataset.test.x[:5] > 127)
    assert loaded.examples("train").shape == (256, 28, 28, 1)
    with pytest.raises(vf.errors.UsageError, match=r"unknown split 'tests'; did you mean 'test'\?"):
        loaded.examples("tests")
    with pytest.raises(vf.errors.UsageError, match=r"count=65: split 'test' has 64 examples"):
        loaded.examples("test", count=65)


@pytest.mark.parametrize("method", ["encode", "reconstruct", "elbo"])
@pytest.mark.parametrize(
    "stored",
    [
        lambda x: x,
        lambda x: x / 255.0,
        lambda x: x.astype(np.float32),
        lambda x: x.astype(np.int64),
        lambda x: -x / 255,
    ],
    ids=["bytes", "divided", "floats", "integers", "negative"],
)
def test_stored_pixels_are_refused(loaded, method, stored):
    pixels = stored(loaded.dataset.test.x[:3])
    with pytest.raises(vf.errors.UsageError, match=BINARY):
        getattr(loaded, method)(pixels)
    assert len(getattr(loaded, method)(pixels, any_values=True)) == 3


def test_prepared_examples_of_any_type_pass(loaded):
    x = loaded.prepare(loaded.dataset.test.x[:3])
    z = loaded.encode(x)
    for same in (x.astype(bool), x.astype(np.int64), x.astype(np.float64)):
        np.testing.assert_array_equal(loaded.encode(same), z)
    with pytest.raises(vf.errors.UsageError, match=r"x\[0, 0, 0, 0\] is nan"):
        loaded.encode(np.full_like(x, np.nan))


@pytest.mark.slow
def test_the_range_is_that_of_the_data_as_prepared(tmp_path, data):
    (tmp_path / "signed.py").write_text(PLUGIN)
    settings = ("binarization=signed", "likelihood=gaussian", 'transforms=["pad"]')
    run = trained(tmp_path / "run", data, *settings, plugins=[str(tmp_path / "signed.py")])
    x = run.examples("test")
    assert (x.min(), x.max()) == (-1.0, 1.0)
    assert np.isfinite(run.elbo(x)).all()
    for wrong in (255.0 * x, 1.0 + x, np.pad(run.dataset.test.x, ((0, 0), (2, 2), (2, 2), (0, 0)))):
        with pytest.raises(
            vf.errors.UsageError, match=r"elements of this run's prepared examples are between -1\.\d+ and"
        ):
            run.encode(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("binarization", ["none", "fixed", "dynamic"])
def test_every_example_and_new_ones_pass(tmp_path, data, binarization):
    settings = (f"binarization={binarization}", "likelihood=continuous-bernoulli", 'transforms=["dequantize"]')
    run = trained(tmp_path / "run", data, *settings)
    for split in ("train", "test"):
        assert np.isfinite(run.elbo(run.examples(split))).all()
    new = np.random.default_rng(0).integers(0, 256, (9, 28, 28, 1), np.uint8)
    assert np.isfinite(run.encode(run.prepare(new))).all()
    with pytest.raises(vf.errors.UsageError, match="prepared examples are"):
        run.encode(new)


@pytest.mark.slow
def test_floats_outside_of_0_to_1_have_a_range_too(tmp_path):
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x_train=x[:200], x_test=x[200:])
    settings = ("dataset.check=false", "binarization=none", "likelihood=gaussian")
    run = trained(tmp_path / "run", tmp_path / "data.npz", *settings)
    assert np.isfinite(run.elbo(run.examples("test"))).all()
    with pytest.raises(vf.errors.UsageError, match=r"prepared examples are between -\d"):
        run.encode(255.0 * x)


def test_the_check_takes_little_time(loaded):
    x = np.tile(loaded.examples("train"), (40, 1, 1, 1))
    loaded.encode(x)
    started = time.perf_counter()
    loaded.encode(x)
    whole = time.perf_counter() - started
    started = time.perf_counter()
    loaded.trained._checked_x(x, any_values=False)
    assert time.perf_counter() - started < max(0.5 * whole, 0.2)
    assert re.fullmatch(r"\(10240, 28, 28, 1\)", str(x.shape))
