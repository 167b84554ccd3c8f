"""Draw TensorBoard's pages of some runs for the documentation: `python docs/screenshots.py RUNS`.

RUNS is a directory of runs with `log.tensorboard = true`. It needs Chromium, Playwright and the packages of the tests.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.tensorboard_pages import browser, served
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent / "images"
SIZE, WIDE, COLOURS = (1400, 860), (1900, 600), 128
SETTLED = 3000  # milliseconds, for animations

READY: Mapping[str, str] = {
    "timeseries": "scalar-card svg, scalar-card canvas",
    "images": "tf-image-dashboard tf-image-loader img",
    "hparams": "tf-hparams-table-view vaadin-grid-cell-content:has-text('ELBO/test')",
    "projector": "plugins-component iframe",
    "text": "tf-text-dashboard pre code",
}
"""By page, what is there once it is drawn."""


def draw(page: Any, url: str, tab: str) -> Path:
    """Write a small PNG file of one page."""
    page.set_viewport_size(dict(zip(("width", "height"), WIDE if tab == "hparams" else SIZE, strict=True)))
    page.goto(f"{url}#{tab}")
    page.locator(READY[tab]).first.wait_for()
    if tab == "projector":
        inner = page.frame_locator("plugins-component iframe").frame_locator("iframe").locator("vz-projector")
        inner.get_by_text("Total variance described").wait_for()
    page.wait_for_timeout(SETTLED)
    path = FOLDER / f"tensorboard-{tab}.png"
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    if picture.width > SIZE[0]:
        picture = picture.resize((SIZE[0], picture.height * SIZE[0] // picture.width), Image.Resampling.LANCZOS)
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def main(runs: str) -> None:
    """Draw all pages."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            served(Path(runs), folder / "log", [sys.executable]) as url,
            browser(folder / "profile", width=SIZE[0], height=SIZE[1]) as window,
        ):
            for tab in READY:
                page = window.new_page()
                page.set_default_timeout(60_000)
                print(draw(page, url, tab))
                page.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
