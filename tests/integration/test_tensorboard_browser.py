"""TensorBoard's pages of a run in a real browser; nothing outside this machine is asked for anything."""

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from helpers.small_runs import python

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
PLUGINS = ("timeseries", "scalars", "images", "histograms", "graphs", "hparams", "projector")
DRAWN = 60_000  # milliseconds, on a busy machine

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine's path (apt-get install chromium)"),
]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory, mnist_content):
    """A run of a few seconds on real digits."""
    folder = tmp_path_factory.mktemp("tensorboard")
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), mnist_content, strict=True))
    counts = {"train": 2000, "test": 500}
    np.savez(folder / "digits.npz", **{name: array[: counts[name[2:]]] for name, array in arrays.items()})
    settings = [
        "dataset=arrays",
        f"dataset.path={folder / 'digits.npz'}",
        "latent_size=2",
        "epochs=8",
        "log.every_steps=5",
    ]
    code = (
        "import sys; from vaeflow.api import train; train('mnist-mlp-20', overrides=sys.argv[2:], run_dir=sys.argv[1])"
    )
    subprocess.run([*python(), "-c", code, str(folder / "run"), *settings], check=True)
    return folder / "run"


@pytest.fixture(scope="module")
def address(run_dir):
    """The address of a TensorBoard that serves the run, once all its plugins have found what they show."""
    log = run_dir.with_suffix(".log")
    command = [
        *python(),
        "-m",
        "tensorboard.main",
        "--logdir",
        str(run_dir),
        "--host",
        "127.0.0.1",
        "--port",
        "0",
    ]
    with log.open("w") as file:
        server = subprocess.Popen(command, stderr=file, stdout=subprocess.DEVNULL)
    try:
        url = until(lambda: re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()), server)[0]
        until(lambda: all(listed(url)[name]["enabled"] for name in PLUGINS), server)
        yield url
    finally:
        server.terminate()
        server.wait()


def until(found, server, seconds=60):
    """Return what is found as soon as it is something."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert server.poll() is None, "TensorBoard ended"
        assert time.monotonic() < end, f"TensorBoard was not ready after {seconds} s"
        time.sleep(0.2)
    return value


def listed(url):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{url}data/plugins_listing") as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser with an empty profile."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        profile = tmp_path_factory.mktemp("profile")
        context = driver.chromium.launch_persistent_context(
            str(profile), executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1400, "height": 1000}
        )
        yield context
        context.close()


@pytest.fixture
def open_tab(address, browser):
    """Return a function that opens one of TensorBoard's tabs; it must have asked this machine alone."""
    page = browser.new_page()
    page.set_default_timeout(DRAWN)
    asked = []
    page.on("request", lambda request: asked.append(request.url))

    def opened(tab):
        page.goto(f"{address}#{tab}")
        return page

    yield opened
    keep_screenshot(page, browser)
    page.close()
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]


def keep_screenshot(page, browser):  # for the documentation: only where its folder is named
    folder = os.environ.get("VAEFLOW_SCREENSHOTS")
    if folder:
        tab = page.url.rpartition("#")[2].partition("&")[0]
        page.screenshot(path=Path(folder) / f"tensorboard-{tab}.png")


def test_time_series_shows_the_elbo(open_tab):
    page = open_tab("timeseries")
    page.set_viewport_size({"width": 1400, "height": 2600})  # cards below the pictures are drawn once they are seen
    card = page.locator("scalar-card:has(tb-truncated-path[title='test/elbo'])").first
    card.wait_for()
    card.locator("svg, canvas").first.wait_for()


def test_scalars_show_test_and_train_and_draw_curves(open_tab):
    cards = open_tab("scalars").locator("tf-scalar-dashboard tf-scalar-card")
    for name in ("test/elbo", "test/active_units", "train/elbo", "train/learning_rate"):
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
    page.locator("tf-histogram-dashboard").get_by_text("weights/encoder/00_dense_kernel").first.wait_for()
    page.locator("vz-histogram-timeseries svg g.histogram path[d*='L']").first.wait_for(state="attached")


def test_the_graph_shows_encoder_and_decoder(open_tab):
    page = open_tab("graphs")
    nodes = page.locator("tf-graph-scene svg g.node")
    nodes.first.wait_for(state="attached")
    names = page.locator("tf-graph-scene svg g.node title").all_text_contents()
    assert any("encoder" in name for name in names)
    assert any("decoder" in name for name in names)


def test_hyperparameters_are_listed(open_tab):
    page = open_tab("hparams")
    page.locator("tf-hparams-table-view vaadin-grid-cell-content").filter(has_text="batch_size").first.wait_for()


def test_the_projector_draws_every_point(open_tab):
    page = open_tab("projector")
    answers = {}
    page.on("response", lambda answer: answers.update({answer.url.partition("?")[0].rpartition("/")[2]: answer.status}))
    projector = page.frame_locator("plugins-component iframe").frame_locator("iframe").locator("vz-projector")
    projector.get_by_text("Points: 500").wait_for()
    # With two latent dimensions as they are, it says NaN% and draws nothing.
    projector.get_by_text(re.compile(r"Total variance described: \d")).wait_for()
    projector.locator("canvas").first.wait_for()
    assert [answers[name] for name in ("tensor", "metadata", "sprite_image")] == [200, 200, 200]
