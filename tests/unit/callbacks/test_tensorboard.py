"""TensorBoard's logs of a run, read back from the disk."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import by_hand
from helpers.builders import tf
from matplotlib.colors import to_hex, to_rgb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.projector import ProjectorConfig

from vaeflow.callbacks.metrics_log import MetricsLog
from vaeflow.callbacks.plots import Plots
from vaeflow.callbacks.tensorboard import TensorBoard
from vaeflow.callbacks.tensorboard.embedding import write_projector
from vaeflow.plots.examples import Examples
from vaeflow.plots.palette import CLASSES

BARE = {"histograms": False, "images": False, "projector": False, "graph": False}


def events(directory):
    accumulator = EventAccumulator(str(directory / "tensorboard"), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def series(accumulator, tag):
    return [(event.step, tf.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)]


def scalars(accumulator, tag):
    return [(step, value.item()) for step, value in series(accumulator, tag)]


def picture(accumulator, tag):
    """Return the last picture under a tag, [H, W, C] uint8; a summary holds width, height and then PNG files."""
    return tf.io.decode_png(series(accumulator, tag)[-1][1][2]).numpy()


def test_scalars_read_back_by_name_and_step(view):
    by_hand.live([TensorBoard(**BARE)], view)
    read = events(view.directory)
    assert scalars(read, "ELBO/train") == [(2, -198.0), (4, -196.0), (6, -194.0), (8, -192.0)]
    assert scalars(read, "ELBO/test") == [(4, -186.0), (8, -182.0)]
    assert scalars(read, "KL/test") == [(4, 6.0), (8, 6.0)]
    assert scalars(read, "test/active_units") == [(4, 2.0), (8, 2.0)]
    assert scalars(read, "z_kl/001") == [(4, 1.0), (8, 1.0)]
    assert scalars(read, "z_kl_train/000")[0] == (2, 2.5)
    assert [step for step, _ in series(read, "z_kl/all")] == [4, 8]
    tags = sorted(read.Tags()["tensors"])
    assert tags[0] == "ELBO/test"  # the first card of TensorBoard's first page
    assert sorted({tag.split("/")[0] for tag in tags})[:2] == ["ELBO", "KL"]  # the two groups that it opens
    assert "test/elbo" not in tags


def test_histograms_hold_weights_and_latents(view):
    by_hand.live([TensorBoard(**BARE | {"histograms": True})], view)
    read = events(view.directory)
    tags = read.Tags()["tensors"]
    assert [tag for tag in tags if tag.startswith("weights/encoder")] == [
        "weights/encoder/00_dense_kernel",
        "weights/encoder/01_dense_bias",
    ]
    assert "weights/posterior/02_log_var_kernel" in tags
    buckets = series(read, "weights/encoder/00_dense_kernel")[-1][1]  # rows of left, right, count
    assert buckets[:, 2].sum() == 784 * 8
    means = view.trained.encode(view.trained.prepare(view.dataset.test.x))[:, 1]
    latents = series(read, "z_mean/001")[-1][1]
    assert latents[:, 2].sum() == 70
    assert latents[0, 0] == pytest.approx(means.min())
    assert latents[-1, 1] == pytest.approx(means.max())


def test_weights_that_are_not_finite_are_no_error(view):
    by_hand.live([TensorBoard(**BARE | {"histograms": True})], view, until=2)
    variable = view.trained.model.trainable_variables[1]
    variable.assign(np.full(variable.shape, np.nan))
    by_hand.live([TensorBoard(**BARE | {"histograms": True})], view)
    assert "weights/encoder/01_dense_bias" not in events(view.directory).Tags()["tensors"]


def test_images_with_two_latents(view):
    by_hand.live([TensorBoard(**BARE | {"images": True})], view)
    read = events(view.directory)
    assert picture(read, "images/manifold").shape == (560, 560, 1)
    assert picture(read, "images/samples").shape == (298, 298, 1)
    shown = picture(read, "images/reconstructions")
    assert shown.shape == (178, 298, 1)
    first_zero = int(np.flatnonzero(view.dataset.test.y == 0)[0])
    original = view.dataset.test.x[first_zero] > 127.5
    np.testing.assert_array_equal(shown[:28, :28] == 255, original)


@pytest.mark.parametrize("latent", [1, 3])
def test_traversals_with_another_number_of_latents(tmp_path, mnist_content, latent):
    view = by_hand.view_of(tmp_path, by_hand.digits(mnist_content), latent=latent, said=[])
    by_hand.live([TensorBoard(**BARE | {"images": True})], view)
    read = events(tmp_path)
    assert picture(read, "images/traversals").shape == (30 * latent - 2, 30 * 11 - 2, 1)
    assert "images/manifold" not in read.Tags()["tensors"]


@pytest.mark.slow
def test_non_image_examples_warn_once_and_the_rest_is_written(tmp_path, said):
    view = by_hand.view_of(tmp_path, by_hand.rows(), said=said)
    by_hand.live([TensorBoard()], view)
    assert said == ["TensorBoard shows no images: examples of shape (6,) are not [H, W, 1 or 3]"]
    folder = tmp_path / "tensorboard"
    assert not (folder / "labels.tsv").exists()
    assert not (folder / "sprite.png").exists()
    assert len((folder / "latents.tsv").read_text().splitlines()) == 30
    config = projector_config(folder)
    assert not config.metadata_path
    assert not config.HasField("sprite")


def projector_config(folder):
    from google.protobuf import text_format

    text = (folder / "projector_config.pbtxt").read_text()
    return text_format.Parse(text, ProjectorConfig()).embeddings[0]


def test_the_projector_gets_vectors_labels_and_a_sprite(view):
    by_hand.live([TensorBoard(**BARE | {"projector": True}, projector_examples=20)], view)
    folder = view.directory / "tensorboard"
    config = projector_config(folder)
    means = view.trained.encode(view.trained.prepare(view.dataset.test.x))[:20]
    vectors = np.loadtxt(folder / config.tensor_path)
    np.testing.assert_allclose(vectors[:, :2], means, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(vectors[:, 2], 0.0)  # it draws nothing in fewer than three dimensions
    labels = np.loadtxt(folder / config.metadata_path, dtype=int)
    np.testing.assert_array_equal(labels, view.dataset.test.y[:20])
    sprite = tf.io.decode_png((folder / config.sprite.image_path).read_bytes()).numpy()
    assert sprite.shape == (5 * 28, 5 * 28, 4)
    assert list(config.sprite.single_image_dim) == [28, 28]
    ink = view.dataset.test.x[5, :, :, 0] > 127.5
    np.testing.assert_array_equal(sprite[28:56, :28, 3] == 255, ink)  # other pixels are transparent
    colour = np.round(np.array(to_rgb(CLASSES[view.dataset.test.y[5]])) * 255)
    np.testing.assert_array_equal(sprite[28:56, :28, :3][ink], np.broadcast_to(colour, (ink.sum(), 3)))


def test_the_projectors_colour_images_have_frames(tmp_path):
    x = np.random.default_rng(0).random((4, 8, 6, 3)).astype(np.float32)
    examples = Examples("test", x, np.array([0, 1, 1, 0]))
    write_projector(tmp_path, {"z": np.zeros((4, 3))}, examples)
    sprite = tf.io.decode_png((tmp_path / "sprite.png").read_bytes()).numpy() / 255
    for number, (top, left) in enumerate(((0, 0), (0, 6), (8, 0), (8, 6))):
        shown = sprite[top : top + 8, left : left + 6]
        np.testing.assert_allclose(shown[2:-2, 2:-2], x[number, 2:-2, 2:-2], atol=1 / 255)
        frame = shown[[0, 1, -1, -2]].reshape(-1, 3)
        np.testing.assert_allclose(frame, np.tile(to_rgb(CLASSES[examples.y[number]]), (len(frame), 1)), atol=1 / 255)


def test_the_projector_shows_rows_as_coloured_discs(tmp_path):
    examples = Examples("test", np.zeros((4, 5), np.float32), np.array([0, 1, 1, 0]))
    write_projector(tmp_path, {"z": np.zeros((4, 3))}, examples)
    sprite = tf.io.decode_png((tmp_path / "sprite.png").read_bytes()).numpy()
    assert sprite.shape == (32, 32, 4)
    for (row, column), label in zip(((8, 8), (8, 24), (24, 8), (24, 24)), examples.y, strict=True):
        assert to_hex(sprite[row, column, :3] / 255) == CLASSES[label]
    assert sprite[0, 0, 3] == 0
    assert list(projector_config(tmp_path).sprite.single_image_dim) == [16, 16]


def test_hyperparameters_and_the_config_are_written(view):
    given = {"seed": 3, "encoder.name": "mlp", "learning_rate": 1e-4, "xla": False}
    by_hand.live([TensorBoard(**BARE | {"hparams": given, "config": 'name = "tiny"\n'})], view)
    read = events(view.directory)
    start, end = (
        plugin_data_pb2.HParamsPluginData.FromString(
            read.summary_metadata[f"_hparams_/session_{name}_info"].plugin_data.content
        )
        for name in ("start", "end")
    )
    hparams = start.session_start_info.hparams
    assert set(hparams) == set(given)
    assert hparams["seed"].number_value == 3
    assert hparams["encoder.name"].string_value == "mlp"
    assert end.session_end_info.status == 1  # STATUS_SUCCESS
    assert series(read, "config")[0][1].item().decode() == '```toml\nname = "tiny"\n```'


def test_no_picture_is_written_twice(view):
    board = TensorBoard(**BARE | {"images": True})
    plots = Plots(formats=("png", "pdf"))
    plots.then = board.show_plots
    drawn = {name: plot for name, plot in view.plots.items() if name in ("latents", "reconstructions", "curves")}
    by_hand.live([MetricsLog(), plots, board], replace(view, plots=drawn))
    tags = [tag for tag in events(view.directory).Tags()["tensors"] if tag.startswith("images/")]
    assert sorted(tags) == ["images/manifold", "images/plots/latents", "images/reconstructions", "images/samples"]
    assert (view.directory / "plots" / "latents.pdf").exists()


def test_the_graph_is_the_models(view):
    by_hand.live([TensorBoard(**BARE | {"graph": True})], view)
    names = {
        node.name for node in tf.compat.v1.GraphDef.FromString(events(view.directory).Graph().SerializeToString()).node
    }
    assert {"x", "noise"} <= names
    assert any(name.startswith("encoder") for name in names)
    assert any(name.startswith("decoder") for name in names)


@pytest.mark.parametrize("resumed", [0, 4])
def test_a_resumed_run_has_the_events_of_an_uninterrupted_one(view, resumed):
    options = BARE | {"histograms": True, "hparams": {"seed": 0}, "graph": True}
    by_hand.live([TensorBoard(**options)], view, until=6)
    by_hand.live([TensorBoard(**options)], view, first=resumed)
    read = events(view.directory)
    assert [step for step, _ in scalars(read, "ELBO/train")] == [2, 4, 6, 8]
    assert [step for step, _ in scalars(read, "ELBO/test")] == [4, 8]
    assert [step for step, _ in series(read, "z_mean/000")] == [4, 8]
    assert len(series(read, "_hparams_/session_start_info")) == 1
    assert read.Tags()["graph"]


def test_half_an_event_is_dropped(view):
    by_hand.live([TensorBoard(**BARE)], view)
    (file,) = (view.directory / "tensorboard").glob("events*")
    whole = file.read_bytes()
    file.write_bytes(whole[:-7])
    by_hand.live([TensorBoard(**BARE)], view, first=8)
    assert len(file.read_bytes()) < len(whole) - 7
    assert scalars(events(view.directory), "ELBO/train")[-1][0] == 8


def test_a_run_that_ends_early_has_its_logs(view):
    board = TensorBoard(**BARE | {"hparams": {"seed": 0}})
    board.on_start(view)
    board.on_log(view, by_hand.log_record(2))
    board.on_exception(view, RuntimeError())
    read = events(view.directory)
    assert scalars(read, "ELBO/train") == [(2, -198.0)]
    assert "_hparams_/session_end_info" not in read.Tags()["tensors"]
