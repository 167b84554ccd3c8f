"""TensorBoard's pages in a real browser, which asks nothing outside this machine."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

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
PLUGINS = ("timeseries", "scalars", "images", "histograms", "distributions", "graphs", "text", "hparams", "projector")


@contextlib.contextmanager
def served(logdir: Path, log: Path, python: Sequence[str]) -> Iterator[str]:
    """Serve runs, and yield the address once all plugins have found what they show.

    Args:
        logdir: of the runs.
        log: what TensorBoard prints.
        python: the start of the command.
    """
    command = [*python, "-m", "tensorboard.main", "--logdir", str(logdir), "--host", "127.0.0.1", "--port", "0"]
    with log.open("w") as file:
        server = subprocess.Popen(command, stderr=file, stdout=subprocess.DEVNULL)
    try:
        url = _until(lambda: re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()), server)[0]
        _until(lambda: all(_listed(url)[name]["enabled"] for name in PLUGINS), server)
        yield url
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def browser(profile: Path, *, width: int = 1400, height: int = 1000) -> Iterator[Any]:
    """Yield a browser with an empty profile: Playwright's context."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            str(profile), executable_path=CHROMIUM, args=FLAGS, viewport={"width": width, "height": height}
        )
        yield context
        context.close()


def _until(found: Callable[[], Any], server: subprocess.Popen[bytes], seconds: float = 60.0) -> Any:
    """Return what is found as soon as it is something."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert server.poll() is None, "TensorBoard ended"
        assert time.monotonic() < end, f"TensorBoard was not ready after {seconds} s"
        time.sleep(0.2)
    return value


def _listed(url: str) -> Any:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{url}data/plugins_listing") as answer:
        return json.load(answer)
