"""Takes a picture of the front page of these pages in Chromium, without a network.

    make docs && python docs/draw_front_page.py

writes `docs/images/front-page.png` from `docs/_build/index.html`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent
SIZE = {"width": 1300, "height": 1250}


def draw(page: Path, picture: Path) -> None:
    """Write a PNG file of a page.

    Args:
        page: an HTML file.
        picture: the file that is written.
    """
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context(viewport=SIZE, offline=True, color_scheme="light")
        tab = context.new_page()
        tab.goto(page.resolve().as_uri())
        tab.screenshot(path=str(picture))
        browser.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--page", type=Path, default=DOCS / "_build" / "index.html")
    parser.add_argument("--picture", type=Path, default=DOCS / "images" / "front-page.png")
    given = parser.parse_args()
    draw(given.page, given.picture)
