"""Download one file from a web server, and check its checksum."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import sys
import urllib.error
import urllib.request
from typing import IO, TYPE_CHECKING

from vaeflow.errors import DataError, VaeflowError

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 3.0  # seconds without an answer before the next source is tried


class UnavailableError(VaeflowError):
    """A source is not available; the next one is tried."""


def download(url: str, path: Path) -> None:
    """Download a file, with a progress bar if standard error is a terminal.

    Args:
        url: http or https; the environment's proxies apply.
        path: where to write it.

    Raises:
        UnavailableError: if the server does not answer, refuses, or closes the connection early.
    """
    from tqdm import tqdm

    if not url.startswith(("http://", "https://")):
        raise UnavailableError("not an http or https address")
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as response, path.open("wb") as file:  # noqa: S310
            size = int(response.headers.get("Content-Length") or 0)
            hidden = not sys.stderr.isatty()
            bar = tqdm.wrapattr(response, "read", total=size or None, desc=path.name, disable=hidden, leave=False)
            with bar as counted:
                shutil.copyfileobj(counted, file)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UnavailableError(_reason(error)) from error
    if path.stat().st_size < size:
        raise UnavailableError(f"the connection was lost after {path.stat().st_size} of {size} bytes")


def check_file(file: IO[bytes], sha256: str, where: str) -> None:
    """Check a file's bytes.

    Args:
        file: opened at its start.
        sha256: the expected checksum.
        where: the file's name for the message.

    Raises:
        DataError: if the checksum differs.
    """
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    if digest.hexdigest() != sha256:
        raise DataError(f"{where}: sha256 expected {sha256}, got {digest.hexdigest()}; nothing was kept")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        error = error.reason if isinstance(error.reason, Exception) else error
    if isinstance(error, TimeoutError):
        return f"no answer in {PATIENCE:g} s"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
