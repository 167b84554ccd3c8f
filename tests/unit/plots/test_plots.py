"""The figures, by what is drawn in them, and their files."""

import json
import os
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from helpers import by_hand
from helpers.builders import tf
from helpers.small_runs import python
from matplotlib.colors import to_hex
from scipy.stats import norm

from vaeflow.commands.plot import plot_run
from vaeflow.commands.sample import write_samples
from vaeflow.contracts import Dataset, Split
from vaeflow.plots import curves, latents, manifold, plot_all, reconstructions, samples, style, traversals
from vaeflow.plots.examples import Examples
from vaeflow.plots.grid import prior_quantiles, tile
from vaeflow.plots.palette import CLASSES


@pytest.fixture(scope="module")
def dataset(mnist_content):
    return by_hand.digits(mnist_content)


@pytest.fixture(scope="module")
def trained(dataset):
    return by_hand.trained_on(dataset)


def held_out(trained, dataset):
    return Examples.held_out(trained, dataset, 1000)


def test_quantiles_are_the_standard_normals():
    np.testing.assert_allclose(prior_quantiles(20), norm.ppf(np.linspace(0.05, 0.95, 20)), rtol=1e-5, atol=1e-6)


def test_tiles_are_clipped_and_rows_may_be_short():
    images = np.stack([np.full((2, 3, 3), value) for value in (-1.0, 0.5, 2.0, np.nan)])
    picture = tile(images, 3)
    assert picture.shape == (4, 9, 3)
    np.testing.assert_array_equal(picture[0, ::3, 0], [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(picture[2, ::3, 0], [0.0, 1.0, 1.0])


def colours_drawn(marks):
    return [to_hex(colour) for colour in marks.get_facecolors()]


def test_latents_are_coloured_by_digit_as_in_the_article(trained, dataset):
    examples = held_out(trained, dataset)
    axes = latents.draw(trained, examples).axes[0]
    np.testing.assert_allclose(axes.collections[0].get_offsets(), trained.encode(examples.x), rtol=1e-6)
    assert colours_drawn(axes.collections[0]) == [CLASSES[digit] for digit in examples.y]
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [str(digit) for digit in range(10)]
    assert [handle.get_color() for handle in legend.legend_handles] == list(CLASSES)
    assert {text.get_text() for text in axes.texts} <= {str(digit) for digit in range(10)}
    assert len(axes.texts) > 2


def test_both_axes_of_the_latents_have_one_scale(trained, dataset):
    figure = latents.draw(trained, held_out(trained, dataset))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    box = axes.get_window_extent()
    assert np.ptp(axes.get_xlim()) / box.width == pytest.approx(np.ptp(axes.get_ylim()) / box.height)


def test_labels_with_gaps_get_neighbouring_colours(trained, dataset):
    examples = held_out(trained, dataset)
    labels = examples.y.astype(int) // 5 * 100 - 7
    axes = latents.draw(trained, replace(examples, y=labels)).axes[0]
    assert colours_drawn(axes.collections[0]) == [CLASSES[label // 100 + 1] for label in labels]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["-7", "93"]


@pytest.mark.parametrize("labels", [None, np.zeros((60, 2))])
def test_no_colours_without_labels_that_could_have_some(labels):
    trained = by_hand.trained_on(by_hand.rows(60))
    figure = latents.draw(trained, Examples("train", by_hand.rows(60).train.x, labels))
    assert len(figure.axes) == 1
    assert figure.axes[0].get_legend() is None
    assert len(figure.axes[0].collections[0].get_offsets()) == 60


@pytest.mark.parametrize("labels", [np.arange(60), np.linspace(0.0, 1.0, 60)])
def test_numbers_have_a_sequential_scale(labels):
    trained = by_hand.trained_on(by_hand.rows(60))
    figure = latents.draw(trained, Examples("train", by_hand.rows(60).train.x, labels))
    marks = figure.axes[0].collections[0]
    assert marks.get_cmap().name == "viridis"
    np.testing.assert_array_equal(marks.get_array(), labels)
    assert figure.axes[1].get_ylabel() == "label"


def test_twelve_classes_have_two_shapes():
    trained = by_hand.trained_on(by_hand.rows(60))
    axes = latents.draw(trained, Examples("train", by_hand.rows(60).train.x, np.arange(60) % 12)).axes[0]
    assert [len(marks.get_offsets()) for marks in axes.collections] == [50, 10]
    handles = axes.get_legend().legend_handles
    assert len({(handle.get_color(), handle.get_marker()) for handle in handles}) == 12


def test_with_more_latents_the_title_says_which_are_shown(dataset):
    trained = by_hand.trained_on(dataset, latent=5)
    examples = held_out(trained, dataset)
    means = trained.encode(examples.x)
    first, second = np.argsort(-means.var(axis=0))[:2]
    figure = latents.draw(trained, examples)
    assert f"the two of 5 dimensions that vary most: {first} and {second}" in figure.axes[0].get_title(loc="left")
    np.testing.assert_allclose(figure.axes[0].collections[0].get_offsets(), means[:, [first, second]], rtol=1e-6)


def test_the_manifold_rises_as_the_scatter_does(trained):
    picture = manifold.picture(trained)
    quantiles = norm.ppf(np.linspace(0.05, 0.95, 20))
    assert picture.shape == (560, 560, 1)
    for column, row in ((0, 0), (3, 17), (19, 0)):
        digit = trained.decode(np.array([[quantiles[column], quantiles[row]]]))[0]
        down = (19 - row) * 28  # an image's rows go down, z_1 rises upward
        np.testing.assert_allclose(picture[down : down + 28, column * 28 : column * 28 + 28], digit, atol=1e-5)
    axes = manifold.draw(trained).axes[0]
    ticks = {tick: text.get_text() for tick, text in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True)}
    assert axes.get_ylim() == (559.5, -0.5)
    assert (ticks[13.5], ticks[545.5]) == ("1.64", "\N{MINUS SIGN}1.64")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("$z_0$", "$z_1$")
    image = axes.images[0]
    assert image.get_cmap().name == "Greys_r"
    assert image.get_clim() == (0.0, 1.0)


def test_reconstructions_lie_below_their_originals(trained, dataset):
    examples = held_out(trained, dataset)
    picture = reconstructions.picture(trained, examples)
    first = examples.spread(1)
    np.testing.assert_array_equal(picture[:28, :28], first[0])
    np.testing.assert_allclose(picture[30:58, :28], trained.reconstruct(first)[0], atol=1e-5)


def test_few_examples_are_enough(trained, dataset):
    few = Dataset("few", dataset.train, Split(dataset.test.x[:3]), None, "test")
    examples = held_out(trained, few)
    assert (examples.split, len(examples.x)) == ("validation", 3)
    assert reconstructions.picture(trained, examples).shape == (58, 298, 1)


def test_samples_are_the_models(trained):
    picture = samples.picture(trained, side=2)
    np.testing.assert_allclose(picture[30:, 30:], trained.sample(4)[3], atol=1e-6)
    samples.draw(trained, side=2)


def test_a_traversal_changes_one_dimension_a_row(dataset):
    trained = by_hand.trained_on(dataset, latent=3)
    examples = held_out(trained, dataset)
    traversal = traversals.Traversal.of(trained, examples, rows=2, columns=5)
    z = trained.encode(examples.x[:1])[0]
    z[traversal.dimensions[1]] = traversal.values[4]
    np.testing.assert_allclose(traversal.images[9], trained.decode(z[None])[0], atol=1e-5)
    assert traversal.picture().shape == (58, 148, 1)


def write_metrics(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_curves_weigh_log_points_by_their_steps(tmp_path):
    rows = [
        {"step": 10, "epoch": 0.5, "train/elbo": -300.0},
        {"step": 15, "epoch": 0.75, "train/elbo": -150.0},
        {"step": 20, "epoch": 1.0, "train/elbo": -150.0},
        {"step": 20, "epoch": 1.0, "test/elbo": -160.0},
        {"step": 30, "epoch": 1.5, "train/elbo": None},
        {"step": 40, "epoch": 2.0, "train/elbo": -120.0},
        {"step": 40, "epoch": 2.0, "test/elbo": None},
        {"step": 50, "epoch": 2.5, "train/elbo": -110.0},
    ]
    metrics = write_metrics(tmp_path / "metrics.jsonl", rows)
    train, test = curves.read(metrics)
    assert train == curves.Curve("train", [1.0, 2.0, 2.5], [-225.0, -120.0, -110.0])
    assert test == curves.Curve("test", [1.0], [-160.0])
    figure = curves.draw(metrics)
    assert len(figure.axes) == 1
    lines = figure.axes[0].get_lines()
    np.testing.assert_array_equal(lines[0].get_xydata(), [[1.0, -225.0], [2.0, -120.0], [2.5, -110.0]])


def test_the_terms_of_the_elbo_have_panels(tmp_path):
    terms = {"elbo": -100.0, "log_likelihood": -90.0, "kl": 10.0}
    groups = {"train/kl/top": 4.0, "train/kl/bottom": 6.0}
    rows = []
    for step in (10, 20):
        rows.append({"step": step, "epoch": step / 10, **{f"train/{k}": v - step for k, v in terms.items()}, **groups})
        rows.append({"step": step, "epoch": step / 10, **{f"test/{k}": v + step for k, v in terms.items()}})
    figure = curves.draw(write_metrics(tmp_path / "metrics.jsonl", rows))
    elbo, likelihood, kl, by_group = figure.axes
    for axes, value in ((elbo, -100.0), (likelihood, -90.0), (kl, 10.0)):
        train, test = axes.get_lines()
        np.testing.assert_array_equal(train.get_ydata(), [value - 10, value - 20])
        np.testing.assert_array_equal(test.get_ydata(), [value + 10, value + 20])
        assert axes.get_ylabel() == "nats per example"
    assert [line.get_label() for line in by_group.get_lines()] == ["top: 4.00", "bottom: 6.00"]


def test_no_metrics_no_curves(tmp_path):
    assert curves.read(tmp_path / "metrics.jsonl") == []
    assert curves.read(write_metrics(tmp_path / "metrics.jsonl", [])) == []
    assert curves.draw(tmp_path / "metrics.jsonl") is None


@pytest.mark.slow
def test_all_that_fits_is_drawn(tmp_path, trained, dataset):
    metrics = write_metrics(tmp_path / "m.jsonl", [{"step": 1, "epoch": 1.0, "train/elbo": -1.0}])
    files, _ = plot_all(by_hand.all_plots(), trained, dataset, tmp_path / "a", metrics=metrics, caption="tiny, seed 0")
    assert [file.name for file in files] == [
        "latents.png",
        "reconstructions.png",
        "samples.png",
        "manifold.png",
        "curves.png",
    ]
    assert sorted(files) == sorted((tmp_path / "a").iterdir())
    for file in files:
        pixels = tf.io.decode_png(file.read_bytes()).numpy()
        assert min(pixels.shape[:2]) >= 480
        assert pixels.std() > 10


def test_no_more_is_drawn_once_a_signal_has_come(tmp_path, trained, dataset):
    came = iter([False, False, True])
    files, left = plot_all(by_hand.all_plots(), trained, dataset, tmp_path, stopped=lambda: next(came))
    assert [file.stem for file in files] == ["latents", "reconstructions"]
    assert left[:2] == ["samples", "manifold"]


@pytest.mark.parametrize("latent", [1, 3])
def test_traversals_take_the_manifolds_place(tmp_path, dataset, latent):
    files, left = plot_all(by_hand.all_plots(), by_hand.trained_on(dataset, latent), dataset, tmp_path)
    assert left == []
    assert [file.stem for file in files] == ["latents", "reconstructions", "samples", "traversals"]


def test_colour_images(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (12, 8, 6, 3)).astype(np.uint8)
    dataset = Dataset("colours", Split(x), None, None, "test")
    assert len(plot_all(by_hand.all_plots(), by_hand.trained_on(dataset), dataset, tmp_path)[0]) == 4


def test_rows_of_numbers_have_latents_only(tmp_path):
    dataset = by_hand.rows()
    files, left = plot_all(by_hand.all_plots(), by_hand.trained_on(dataset), dataset, tmp_path)
    assert left == []
    assert [file.stem for file in files] == ["latents"]


@pytest.mark.slow
def test_equal_plots_are_equal_files(tmp_path, trained, dataset):
    drawn = {name: plot for name, plot in by_hand.all_plots().items() if name in ("latents", "samples")}
    formats = ("png", "pdf")
    first, second = (plot_all(drawn, trained, dataset, tmp_path / name, formats=formats) for name in "ab")
    assert [file.name for file in first[0]] == ["latents.png", "latents.pdf", "samples.png", "samples.pdf"]
    pdf = first[0][1].read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert b"Date" not in pdf
    assert b"/Type3" not in pdf
    assert [file.read_bytes() for file in first[0]] == [file.read_bytes() for file in second[0]]


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_equal_samples_are_equal_pictures(tmp_path, suffix):
    samples = np.random.default_rng(0).random((5, 8, 6, 1)).astype(np.float32)
    first, second = (tmp_path / f"{name}{suffix}" for name in "ab")
    for path in (first, second):
        with path.open("wb") as file:
            write_samples(samples, file, suffix)
    assert first.read_bytes() == second.read_bytes()
    assert b"Date" not in first.read_bytes()


def test_a_disk_that_refuses_leaves_the_earlier_plot(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    style.save(style.new_figure(1, 1), path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, os.strerror(28))

    figure = style.new_figure(1, 1)
    monkeypatch.setattr(figure, "savefig", full)
    with pytest.raises(OSError, match="No space"):
        style.save(figure, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


@pytest.mark.slow
def test_a_run_is_plotted_from_its_directory(tmp_path, tiny_arrays):
    settings = ["dataset=arrays", f"dataset.path={tiny_arrays}", "encoder=mlp", "decoder=mlp", "epochs=2"]
    settings += ["log.tensorboard=false", "plots.draw=['latents', 'traversals', 'curves']", "plots.formats=['pdf']"]
    code = (
        "import sys; from vaeflow.api import train; train('mnist-mlp-20', overrides=sys.argv[2:], run_dir=sys.argv[1])"
    )
    subprocess.run([*python(), "-c", code, str(tmp_path / "run"), *settings], check=True)
    drawn = sorted((tmp_path / "run" / "plots").iterdir())
    assert [file.name for file in drawn] == ["curves.pdf", "latents.pdf", "traversals.pdf"]
    for file in drawn:
        file.unlink()
    assert sorted(plot_run(tmp_path / "run")) == drawn
    files = plot_run(tmp_path / "run", formats=["png"])
    assert {file.name for file in files} == {"latents.png", "traversals.png", "curves.png"}
