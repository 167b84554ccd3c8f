"""What would take more memory than there is, is refused in one line before it is begun: real processes with limits."""

from __future__ import annotations

import re
import resource

import numpy as np
import pytest
import tensorflow as tf
from helpers.small_runs import on, train, vaeflow, write_digits

import vaeflow as package
from vaeflow.data.noise import Noise
from vaeflow.model import elbo
from vaeflow.model.trained_vae import BLOCK
from vaeflow.runtime import memory

LIMIT = 9_000_000 * 1024  # bytes, as by ulimit -v 9000000
THERE = r"needs about [\d.,]+ [GM]iB of memory, but [\d.]+ GiB is available \(ulimit -v 9000000\): "
pytestmark = pytest.mark.slow  # each trains a small model


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content, train=128)


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits):
    return train(tmp_path_factory.mktemp("finished") / "run", digits, "steps=3", "plots.draw=[]")


def limited(*arguments):
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))

    return vaeflow(*arguments, preexec_fn=limit, timeout=100)


def refused(done):
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("vaeflow: ").rstrip("\n")


LOWER_SAMPLES = r"lower the samples \(--samples, evaluate.samples\) to about \d+"
SAMPLES = rf"an evaluation of 200 examples at once with 100000 samples each {THERE}{LOWER_SAMPLES}"


@pytest.mark.parametrize(
    ("command", "options", "expected"),
    [
        ("evaluate", ["--samples", "100000"], SAMPLES),
        ("sample", ["--count", "1000000000"], rf"1000000000 examples {THERE}lower count \(--count\) to about \d+"),
    ],
)
def test_what_a_command_can_not_hold_is_refused(command, options, expected, run):
    before = sorted(run.iterdir())
    assert re.fullmatch(expected, refused(limited(command, run, *options)))
    assert sorted(run.iterdir()) == before


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("batch_size=1000000000", rf"training on microbatches of 1000000000 examples {THERE}lower batch_size to about"),
        ("evaluate.samples=1000000", rf"an evaluation of 200 .* {THERE}lower the samples"),
        ("encoder.hidden=[1000000000000]", rf"the model's weights .* {THERE}lower the sizes of the networks: layer"),
        pytest.param(
            "evaluate.batch_size=1000000000",
            rf"an evaluation of 1000000000 .* {THERE}lower evaluate.batch_size to",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "latent_size=100000000",
            rf"the model's weights .* {THERE}lower the sizes of the networks: layer",
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.parametrize("dry", [[], pytest.param(["--dry-run"], marks=pytest.mark.slow)])
def test_a_run_that_does_not_fit_is_not_begun(setting, expected, dry, digits, tmp_path):
    done = limited("train", "mnist-2d", *on(digits, setting), "--run-dir", tmp_path / "run", *dry)
    assert re.match(expected, refused(done))
    assert not (tmp_path / "run").exists()


def test_what_fits_is_done(run):
    done = limited("evaluate", run, "--samples", "100")
    assert done.returncode == 0, done.stderr


def test_a_elbo_is_computed_in_blocks_with_the_same_bits(run, mnist_content):
    """The noise of an example is a function of its number, so that no block needs another's."""
    loaded = package.load(run)
    x = loaded.prepare(mnist_content.x_test[: BLOCK + 30, ..., None])
    trained, samples, width = loaded.trained, 7, loaded.trained.model.posterior.noise_size
    noise = np.asarray(Noise(5, "elbo").normal(0, 0, len(x) * samples, width)).reshape((len(x), samples, width))
    padded = [np.concatenate([a, np.repeat(a[-1:], BLOCK - 30, axis=0)]) for a in (x, noise)]

    @tf.function
    def bound(x, noise):
        terms = trained.model.terms(x, tf.transpose(noise, (1, 0, 2)))
        return elbo.elbo(terms.log_likelihood, terms.kl)

    whole = np.concatenate([bound(*(a[i : i + BLOCK] for a in padded)) for i in (0, BLOCK)])[: len(x)]
    np.testing.assert_array_equal(trained.elbo(x, samples=samples, seed=5), whole)


def test_the_groups_above_a_process_count(tmp_path):
    inner = tmp_path / "outer/inner"
    inner.mkdir(parents=True)
    for folder, limit, used in ((inner, "max", 10), (tmp_path / "outer", "1000", 400)):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text("anon 5\ninactive_file 100\n")
    names = ("memory.max", "memory.current", "inactive_file")
    found = list(memory._of_tree(tmp_path, "/outer/inner", names))
    assert [one.size for one in found] == [1000 - 400 + 100]
    assert not list(memory._of_tree(tmp_path, "/../..", names))


def test_little_is_never_refused(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: memory.Available(0, "nothing"))
    assert memory.fits(memory.ALWAYS)
    assert not memory.fits(memory.ALWAYS + 1)
