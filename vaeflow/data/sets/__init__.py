"""Data sets: where they are stored, and how they are downloaded and checked. This file does not import TensorFlow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Folders:
    """The folders of data sets.

    Attributes:
        user: the user's folder of data sets, which is searched first, or None.
        cache: the folder of downloaded data sets; created when something is written.
    """

    user: Path | None
    cache: Path

    @classmethod
    def default(cls, user: Path | None = None) -> Folders:
        """Return the default folders.

        Args:
            user: the user's folder; None uses the environment variable VAEFLOW_DATA_DIR, if it is set.

        Returns:
            Folders; the cache is VAEFLOW_CACHE_DIR or the platform's folder for caches.

        Raises:
            DataError: if there is no home directory for ~.
        """
        import platformdirs

        from vaeflow.data.sets.paths import expanded

        given = user or os.environ.get("VAEFLOW_DATA_DIR") or None
        cache = os.environ.get("VAEFLOW_CACHE_DIR") or platformdirs.user_cache_dir("vaeflow")
        return cls(expanded(given) if given else None, expanded(cache))
