"""Metrics, transforms and plots of plugins: against oracles, in real runs, the same on two replicas."""

from __future__ import annotations

import json
import re
from textwrap import dedent

import numpy as np
import pytest
import tensorflow as tf
from helpers import builders
from helpers.builders import examples, normal_noise, uniform_noise
from helpers.jobs import job
from helpers.small_runs import on, rows, summary, train, write_digits
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import vaeflow as vf
from vaeflow.cli import main
from vaeflow.components import binarizations, metrics, transforms
from vaeflow.components.transforms import FunctionTransform
from vaeflow.config.resolve import METRICS_OF_VAEFLOW
from vaeflow.contracts import Split
from vaeflow.data.batches import Batches
from vaeflow.engine.evaluation import Evaluation
from vaeflow.model.moving_average import MovingAverage
from vaeflow.model.trained_vae import TrainedVAE

# Metrics


@pytest.fixture(scope="module")
def vae():
    return builders.tiny_vae()


def log_weights(terms, x, logits):
    """Return log p(x, z) - log q(z given x), [L, B], by SciPy in float64; and the samples."""
    z, logits = np.asarray(terms.z["z"], np.float64), np.asarray(logits, np.float64)
    log_likelihood = -(x * np.logaddexp(0, -logits) + (1 - x) * np.logaddexp(0, logits)).sum(-1)
    scale = np.exp(0.5 * np.asarray(terms.q["z"].log_var, np.float64))
    log_q = stats.norm.logpdf(z, np.asarray(terms.q["z"].mu), scale).sum(-1)
    return log_likelihood + stats.norm.logpdf(z).sum(-1) - log_q


@pytest.mark.parametrize("samples", [1, 7])
def test_the_importance_weighted_bound(vae, samples):
    x = builders.binary_pixels(9, 6)
    terms = vae.terms(tf.constant(x), normal_noise(samples, 9, 2))
    logits = tf.reshape(vae.decoder(tf.reshape(terms.z["z"], (-1, 2))), (samples, 9, 6))
    weights = log_weights(terms, x, logits)
    found = metrics.iw_bound()(tf.constant(x), terms).numpy()
    np.testing.assert_allclose(found, special.logsumexp(weights, axis=0) - np.log(samples), rtol=1e-5)
    assert (found >= weights.mean(axis=0) - 1e-4).all()  # Jensen


def test_with_many_samples_it_lies_above_the_elbo(vae):
    x = tf.constant(builders.binary_pixels(9, 6))
    terms = vae.terms(x, normal_noise(4000, 9, 2))
    bound = tf.reduce_mean(terms.log_likelihood, axis=0) - terms.kl
    gap = metrics.iw_bound()(x, terms) - bound
    assert (gap.numpy() > 0).all()


def test_the_squared_error(vae):
    x = builders.binary_pixels(9, 6)
    terms = vae.terms(tf.constant(x), normal_noise(4, 9, 2))
    probabilities = special.expit(np.asarray(vae.decoder(tf.reshape(terms.z["z"], (-1, 2))))).reshape(4, 9, 6)
    expected = ((x - probabilities) ** 2).sum(axis=2).mean(axis=0)
    np.testing.assert_allclose(metrics.squared_error()(tf.constant(x), terms), expected, rtol=1e-5)


def test_the_names_that_plugins_may_not_take():
    found = Evaluation(1, 0.0, 0.0, {}, {"z": 0}, more={"penalty": 0.0}).scalars("test")
    assert sorted(found) == sorted(f"test/{name}" for name in METRICS_OF_VAEFLOW)


# Transforms


def images(count=5, height=6, width=4, channels=3):
    return np.random.default_rng(0).random((count, height, width, channels), np.float32)


def test_pad():
    made = transforms.pad((6, 4, 3), pixels=2)
    assert made.x_shape == (10, 8, 3)
    expected = np.pad(images(), ((0, 0), (2, 2), (2, 2), (0, 0)))
    np.testing.assert_array_equal(made(tf.constant(images()), None), expected)


def test_downsample():
    made = transforms.downsample((6, 4, 3), factor=2)
    assert made.x_shape == (3, 2, 3)
    expected = images().astype(np.float64).reshape(5, 3, 2, 2, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(made(tf.constant(images()), None), expected, rtol=1e-6)


def moved(image, down, right):
    """Return an image [H, W, C] moved down and right, black where nothing was."""
    result = np.zeros_like(image)
    for row in range(len(image)):
        for column in range(image.shape[1]):
            if 0 <= row - down < len(image) and 0 <= column - right < image.shape[1]:
                result[row, column] = image[row - down, column - right]
    return result


@given(st.integers(1, 5), st.lists(st.tuples(*[st.floats(2**-24, 1 - 2**-24, width=32)] * 2), min_size=1, max_size=5))
@examples(40)
def test_shift(pixels, noise):
    noise = np.array(noise, np.float32)
    made = transforms.shift((6, 4, 3), pixels=pixels)
    found = made(tf.constant(images(len(noise))), tf.constant(noise)).numpy()
    by = pixels - np.floor(noise.astype(np.float64) * (2 * pixels + 1)).astype(int)
    assert np.abs(by).max() <= pixels
    expected = [moved(image, *steps) for image, steps in zip(images(len(noise)), by, strict=True)]
    np.testing.assert_array_equal(found, expected)


def test_all_shifts_are_equally_probable():
    noise = uniform_noise(5000, 2, name="shifts")
    centre = np.zeros((5000, 5, 5, 1), np.float32)
    centre[:, 2, 2] = 1
    found = transforms.shift((5, 5, 1), pixels=2)(tf.constant(centre), noise).numpy()
    counts = found.sum(axis=0).ravel()
    assert counts.sum() == 5000
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("levels", [2, 256])
def test_dequantize(levels):
    stored = np.random.default_rng(0).integers(0, levels, (7, 3, 2))
    pixels = (stored / (levels - 1)).astype(np.float32)
    noise = uniform_noise(7, 6)
    made = transforms.dequantize((3, 2), levels=levels)
    assert (made.x_shape, made.noise_size) == ((3, 2), 6)
    found = made(tf.constant(pixels), noise).numpy()
    np.testing.assert_allclose(found, (stored + noise.numpy().reshape(7, 3, 2)) / levels, rtol=1e-5)
    np.testing.assert_array_equal(np.floor(found * levels), stored)


# Transforms in batches


def echo(kind):
    """Return a transform that adds its noise to pixels [B, 3]; the noise is all there is of pixels of zeros."""
    return FunctionTransform((3,), lambda pixels, noise: pixels + noise, noise=kind, noise_size=3)


def batches_of(pixels, *chain, split="train", batch_size=10):
    made = Batches.of(split, Split(pixels), binarizations.none(), seed=3, batch_size=batch_size, transforms=chain)
    assert made.x_shape == (chain[-1].x_shape if chain else pixels.shape[1:])
    return made


def rows_of(batches, step, first, count):
    return batches.shuffled(tf.constant(step, tf.int64), tf.constant(first, tf.int64), count).x.numpy()


@pytest.mark.parametrize("step", [0, 2])
@pytest.mark.parametrize("cuts", [(5, 5), (3, 3, 4), (1,) * 10])
def test_a_row_is_the_same_however_the_batch_is_cut(step, cuts):
    chain = [
        transforms.shift((6, 4, 3), pixels=2),
        transforms.pad((6, 4, 3), pixels=1),
        transforms.dequantize((8, 6, 3)),
    ]
    batches = batches_of(images(23), *chain)
    starts = np.cumsum((0, *cuts[:-1]))
    parts = [rows_of(batches, step, first, count) for first, count in zip(starts, cuts, strict=True)]
    np.testing.assert_array_equal(np.concatenate(parts), rows_of(batches, step, 0, 10))


def test_noise_is_new_at_each_step_or_belongs_to_the_example():
    zeros = np.zeros((10, 3), np.float32)
    new, kept = batches_of(zeros, echo("step")), batches_of(zeros, echo("example"))
    assert not np.isin(rows_of(new, 0, 0, 10), rows_of(new, 1, 0, 10)).any()
    first, second = rows_of(kept, 0, 0, 10), rows_of(kept, 1, 0, 10)
    assert not np.array_equal(first, second)  # another order
    np.testing.assert_array_equal(np.sort(first, axis=0), np.sort(second, axis=0))
    index = kept.order.rows(tf.constant(1, tf.int64), 0, 10)[0].numpy()
    in_order = kept.in_order(tf.constant(0, tf.int64), 10).x.numpy()
    np.testing.assert_array_equal(second, in_order[index])


def test_each_transform_and_the_binarization_use_separate_noise():
    zeros = np.zeros((10, 3), np.float32)
    once, twice = batches_of(zeros, echo("step")), batches_of(zeros, echo("step"), echo("step"))
    first = rows_of(once, 0, 0, 10)
    second = rows_of(twice, 0, 0, 10) - first
    assert np.abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.5
    other = rows_of(batches_of(zeros, echo("step"), split="test"), 0, 0, 10)
    assert not np.isin(first, other).any()


def test_a_shift_is_for_training_alone():
    made = batches_of(images(23), transforms.shift((6, 4, 3), pixels=2), transforms.pad((6, 4, 3), pixels=1))
    expected = np.pad(images(23), ((0, 0), (1, 1), (1, 1), (0, 0)))
    np.testing.assert_array_equal(made.in_order(tf.constant(0, tf.int64), 23).x, expected)
    trained = TrainedVAE(builders.tiny_vae(), MovingAverage([], None), binarizations.none(), transforms=made.transforms)
    np.testing.assert_array_equal(trained.prepare(images(23)), expected)
    index = made.order.rows(tf.constant(0, tf.int64), 0, 10)[0].numpy()
    assert not np.array_equal(rows_of(made, 0, 0, 10), expected[index])


# Real runs with all of it

PLUGIN = """
    from vaeflow import Component, hookimpl

    def mean_pixel():
        def metric(x, terms):
            import tensorflow as tf
            return tf.reduce_mean(x, axis=(1, 2, 3))
        return metric

    def dots(*, count: int = 3):
        def plot(subject):
            from vaeflow.plots import style
            figure = style.new_figure(2, 2, caption=subject.caption)
            style.add_axes(figure, "dots").plot(range(count))
            return figure
        return plot

    def nothing():
        return lambda subject: None

    def fails():
        def plot(subject):
            raise ValueError(f"no {len(subject.examples.x)}\\nexamples")
        return plot

    def axes():
        def plot(subject):
            from vaeflow.plots import style
            return style.add_axes(style.new_figure(2, 2), "axes")
        return plot

    @hookimpl
    def vaeflow_components():
        yield Component("metric", "mean-pixel", mean_pixel)
        yield Component("plot", "dots", dots)
        yield Component("plot", "nothing", nothing)
        yield Component("plot", "fails", fails)
        yield Component("plot", "axes", axes)
"""
MEASURED = "metrics=['iw-bound', 'squared-error', 'mean-pixel']"
CHAIN = "transforms=[{name='pad', pixels=2}, 'shift', {name='downsample', factor=4}]"
NAMES = ("iw-bound", "squared-error", "mean-pixel")


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content, train=41, test=33)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "extra.py"
    path.write_text(dedent(PLUGIN))
    return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory, digits, plugin):
    """Two epochs on digits of 8 by 8, measured with 5 samples, drawn after each epoch."""
    return train(
        tmp_path_factory.mktemp("run") / "run",
        digits,
        *("batch_size=10", "evaluate.samples=5", CHAIN, MEASURED),
        *("plots.draw=['latents', {name='dots', count=4}, 'nothing']", "plots.every_epochs=1"),
        *("log.tensorboard=true", "log.images=false", "log.projector=false", "log.graph=false"),
        *("--plugin", plugin),
    )


@pytest.fixture(scope="module")
def events(run):
    accumulator = EventAccumulator(str(run / "tensorboard"), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def test_metrics_are_logged_by_name(run, events, plugin):
    evaluations = [row for row in rows(run) if "test/elbo" in row]
    assert len(evaluations) == 2
    for name in NAMES:
        logged = [row[f"test/{name}"] for row in evaluations]
        shown = [tf.make_ndarray(event.tensor_proto).item() for event in events.Tensors(f"test/{name}")]
        assert shown == pytest.approx(logged)
        assert summary(run)["metrics"][f"test/{name}"] == logged[-1]
    assert main(["evaluate", str(run), "--plugin", plugin]) == 0
    evaluated = json.loads((run / "evaluation-test.json").read_text())["metrics"]
    assert evaluated == {name: value for name, value in evaluations[-1].items() if name.startswith("test/")}


def test_metrics_are_means_over_the_examples_of_the_split(run, digits):
    pixels = np.load(digits)["x_test"] / 255.0
    pooled = np.pad(pixels, ((0, 0), (2, 2), (2, 2))).reshape(33, 8, 4, 8, 4).mean(axis=(2, 4))
    found = summary(run)["metrics"]
    assert found["test/mean-pixel"] == pytest.approx((pooled > 0.5).mean(), abs=1e-6)  # threshold
    assert found["test/iw-bound"] > found["test/elbo"]
    assert 0 < found["test/squared-error"] < 64


def test_the_model_is_of_what_the_transforms_make(run, digits, plugin):
    loaded = vf.load(run, plugins=[plugin])
    assert loaded.trained.x_shape == (8, 8, 1)
    assert loaded.prepare(np.load(digits)["x_test"][..., None]).shape == (33, 8, 8, 1)
    assert loaded.sample(2).shape == (2, 8, 8, 1)
    assert json.loads((run / "environment.json").read_text())["components"]["transforms[1]"].startswith("vaeflow ")


def test_plots_of_plugins_are_drawn_and_shown(run, events):
    drawn = {path.relative_to(run / "plots").as_posix() for path in (run / "plots").rglob("*.png")}
    assert drawn == {"latents.png", "dots.png", "epoch-001/latents.png", "epoch-001/dots.png"}
    tags = {tag for tag in events.Tags()["tensors"] if "plots/" in tag}
    assert tags == {"images/plots/latents", "images/plots/dots"}
    shown = {event.step: tf.make_ndarray(event.tensor_proto)[2] for event in events.Tensors("images/plots/dots")}
    assert sorted(shown) == [5, 10]
    for step, path in ((5, "epoch-001/dots.png"), (10, "dots.png")):
        file = tf.io.decode_png((run / "plots" / path).read_bytes(), channels=3)
        np.testing.assert_array_equal(tf.io.decode_png(shown[step]), file)


def test_plots_of_plugins_are_drawn_again(run, plugin):
    before = (run / "plots/dots.png").stat().st_mtime_ns
    assert main(["plot", str(run), "--plugin", plugin]) == 0
    assert (run / "plots/dots.png").stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fails", "ValueError: no 33 examples"),
        ("axes", r"TypeError: it returned Axes, not a matplotlib\.figure\.Figure or None"),
    ],
)
def test_a_plot_that_fails_is_named(tmp_path, digits, plugin, capfd, *, name, reason):
    settings = on(digits, "steps=1", f"plots.draw=['{name}']")
    assert main(["train", "mnist-2d", "--run-dir", str(tmp_path / "run"), "--plugin", plugin, *settings]) == 2
    assert re.fullmatch(rf"vaeflow: callback Plots, on_end: plot '{name}': {reason}\n", capfd.readouterr().err)


@pytest.mark.distributed
def test_the_same_bits_on_two_replicas(tmp_path, digits, plugin):
    settings = on(
        digits,
        *("batch_size=10", "microbatches=4", "evaluate.samples=5", "evaluate.batch_size=10", MEASURED, "plots.draw=[]"),
        CHAIN.replace("]", ", 'dequantize']"),
        *("binarization=none", "likelihood=gaussian"),
        *("--plugin", plugin),
    )
    for kind, count in (("single", 1), ("mirrored", 2)):
        finished = job(kind, count, "train", "mnist-2d", "--run-dir", tmp_path / kind, *settings)
        assert finished.codes == [0], finished.outputs
    alone, together = summary(tmp_path / "single"), summary(tmp_path / "mirrored")
    assert together["state_sha256"] == alone["state_sha256"]
    assert together["metrics"] == alone["metrics"]
    assert {f"test/{name}" for name in NAMES} < alone["metrics"].keys()
    assert rows(tmp_path / "mirrored") == rows(tmp_path / "single")
