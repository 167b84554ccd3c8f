"""The installed version of vaeflow."""

from __future__ import annotations

import importlib.metadata


def version_of_vaeflow() -> str:
    """Return the installed version, or 'unknown' for a source tree that isn't installed."""
    try:
        return importlib.metadata.version("vaeflow")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
