"""TensorBoard's pages of two runs in a real browser; nothing outside this machine is asked for anything."""

import io
import re
import subprocess
from importlib.util import find_spec

import numpy as np
import pytest
from helpers.small_runs import command_line, python
from helpers.tensorboard_pages import CHROMIUM, browser, served
from matplotlib.colors import to_rgb
from PIL import Image

from vaeflow.plots.palette import CLASSES

DRAWN = 60_000  # milliseconds, on a busy machine

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine's path (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, mnist_content):
    """Two runs of seconds on real digits; `encoder.hidden` is set in the second one only, which is without pictures."""
    folder = tmp_path_factory.mktemp("tensorboard")
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), mnist_content, strict=True))
    counts = {"train": 2000, "test": 500}
    np.savez(folder / "digits.npz", **{name: array[: counts[name[2:]]] for name, array in arrays.items()})
    settings = ["dataset=arrays", f"dataset.path={folder / 'digits.npz'}", "latent_size=2", "log.every_steps=5"]
    less = [
        "epochs=1",
        "encoder.hidden=[50]",
        "seed=1",
        "log.images=false",
        "log.projector=false",
        "log.graph=false",
        "plots.draw=[]",
    ]
    for name, more in (("first", ["epochs=3", "--profile", "2"]), ("second", less)):
        place = ["--run-dir", folder / "runs" / name]
        subprocess.run(command_line("train", "mnist-mlp-20", *place, *settings, *more), check=True)
    return folder / "runs"


@pytest.fixture(scope="module")
def address(runs):
    """The address of a TensorBoard that serves the runs."""
    with served(runs, runs.with_suffix(".log"), python()) as url:
        yield url


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    """A browser."""
    with browser(tmp_path_factory.mktemp("profile")) as context:
        yield context


@pytest.fixture
def open_tab(address, window):
    """Return a function that opens one of TensorBoard's tabs; it must have asked this machine alone."""
    page = window.new_page()
    page.set_default_timeout(DRAWN)
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    def opened(tab):
        page.goto(f"{address}#{tab}" if tab else address)
        return page

    yield opened
    page.close()
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]


def test_the_first_card_is_the_test_elbo(open_tab):
    page = open_tab("")
    page.wait_for_url("**/#timeseries")
    cards = page.locator("metrics-main-view card-view")
    cards.nth(3).wait_for()
    titles = page.locator("metrics-main-view scalar-card tb-truncated-path").evaluate_all(
        "all => all.map(one => one.getAttribute('title'))"
    )
    assert titles[:4] == ["ELBO/test", "ELBO/train", "KL/test", "KL/train"]
    assert cards.first.locator("scalar-card tb-truncated-path[title='ELBO/test']").count() == 1
    cards.first.locator("scalar-card svg, scalar-card canvas").first.wait_for()


def test_scalars_show_test_and_train_and_draw_curves(open_tab):
    cards = open_tab("scalars").locator("tf-scalar-dashboard tf-scalar-card")
    for name in ("ELBO/test", "KL/test", "ELBO/train"):
        card = cards.filter(has_text=name).first
        card.wait_for()
        card.locator("vz-line-chart2 svg path[d*='L']").first.wait_for(state="attached")


def test_images_show_reconstructions_samples_and_the_manifold(open_tab):
    loaders = open_tab("images").locator("tf-image-dashboard tf-image-loader")
    for name, size in (("reconstructions", [298, 178]), ("samples", [298, 298]), ("manifold", [560, 560])):
        image = loaders.filter(has_text=f"images/{name}").locator("img").first
        image.wait_for()
        assert (
            image.evaluate("async image => (await image.decode(), [image.naturalWidth, image.naturalHeight])") == size
        )


def test_histograms_are_drawn(open_tab):
    page = open_tab("histograms")
    page.locator("tf-histogram-dashboard").get_by_text("weights/decoder/00_dense_kernel").first.wait_for()
    page.locator("vz-histogram-timeseries svg g.histogram path[d*='L']").first.wait_for(state="attached")


def test_the_graph_shows_encoder_and_decoder(open_tab):
    page = open_tab("graphs")
    nodes = page.locator("tf-graph-scene svg g.node")
    nodes.first.wait_for(state="attached")
    names = page.locator("tf-graph-scene svg g.node title").all_text_contents()
    assert any("encoder" in name for name in names)
    assert any("decoder" in name for name in names)


def test_hyperparameters_are_those_that_differ(open_tab):
    page = open_tab("hparams")
    table = page.locator("tf-hparams-table-view vaadin-grid-cell-content")
    table.filter(has_text="ELBO/test").first.wait_for()
    boxes = page.locator("tf-hparams-query-pane .hparam-checkbox")
    box = boxes.filter(has_text="encoder.hidden").first
    if box.get_attribute("aria-checked") == "false":  # of those that don't differ, it shows a few
        box.click()
    table.filter(has_text="[50]").first.wait_for()
    shown = {text.strip() for text in table.all_text_contents()}
    assert {"ELBO/test", "ELBO/train", "KL/test", "KL/train", "seed", "encoder.hidden"} <= shown
    assert "test/active_units" not in shown
    trials = [text for text in shown if text.endswith(("/first", "/second"))]
    assert len(trials) == 2  # a hyperparameter that only one of them has hides neither
    listed = boxes.all_text_contents()
    names = ["dataset.name", "dataset.path", "encoder.hidden", "epochs", "latent_size", "name", "seed"]
    assert sorted(text.strip() for text in listed) == names


def test_the_config_is_a_text(open_tab):
    code = open_tab("text").locator("tf-text-dashboard pre code").filter(has_text="hidden = [")
    code.first.wait_for()
    assert 'name = "mnist-mlp-20"' in code.first.text_content()


def test_no_two_images_are_the_same(open_tab):
    loaders = open_tab("images").locator("tf-image-dashboard tf-image-loader")
    loaders.nth(3).wait_for()
    tags = loaders.evaluate_all("all => all.map(one => one.tag)")
    assert sorted(tags) == ["images/manifold", "images/plots/latents", "images/reconstructions", "images/samples"]


@pytest.mark.skipif(not find_spec("tensorboard_plugin_profile"), reason="tensorboard-plugin-profile is not installed")
def test_the_profile_is_found(address, window):
    page = window.new_page()  # not `open_tab`: the plugin asks Google's servers for fonts and charts
    page.set_default_timeout(DRAWN)
    page.goto(f"{address}#profile")
    inside = page.frame_locator("plugins-component iframe")
    inside.get_by_text("Sessions (1)").wait_for()
    inside.get_by_text("first/tensorboard/").first.wait_for()
    page.close()


def test_the_projector_colours_every_point_by_label(open_tab):
    page = open_tab("projector")
    answers = {}
    page.on("response", lambda answer: answers.update({answer.url.partition("?")[0].rpartition("/")[2]: answer.status}))
    projector = page.frame_locator("plugins-component iframe").frame_locator("iframe").locator("vz-projector")
    projector.get_by_text("Points: 500").wait_for()
    # With two latent dimensions as they are, it says NaN% and draws nothing.
    projector.get_by_text(re.compile(r"Total variance described: \d")).wait_for()
    canvas = projector.locator("#scatter canvas").first
    canvas.wait_for()
    assert [answers[name] for name in ("tensor", "metadata", "sprite_image")] == [200, 200, 200]
    colours = {digit: np.round(np.array(to_rgb(colour)) * 255) for digit, colour in enumerate(CLASSES)}
    for _ in range(50):  # until it has drawn
        pixels = np.array(Image.open(io.BytesIO(canvas.screenshot())).convert("RGB")).reshape(-1, 3).astype(float)
        seen = {digit for digit, colour in colours.items() if (np.abs(pixels - colour).max(axis=1) < 4).sum() > 20}
        if len(seen) == 10:
            break
        page.wait_for_timeout(200)
    assert seen == set(range(10))
