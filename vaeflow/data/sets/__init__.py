"""Data sets: where they lie, how they are fetched and checked. Nothing in this file imports TensorFlow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Folders:
    """Where data sets are looked for and kept.

    Attributes:
        user: the user's own folder of data sets, looked into first, or None.
        cache: where fetched data sets are kept; made when something is written.
    """

    user: Path | None
    cache: Path

    @classmethod
    def default(cls, user: Path | None = None) -> Folders:
        """Return the ordinary folders.

        Args:
            user: the user's folder; None takes the environment's VAEFLOW_DATA_DIR, if it is set.

        Returns:
            Folders; the cache is VAEFLOW_CACHE_DIR or the platform's own folder for caches.

        Raises:
            DataError: if ~ names no home directory.
        """
        import platformdirs

        from vaeflow.data.sets.paths import expanded

        given = user or os.environ.get("VAEFLOW_DATA_DIR") or None
        cache = os.environ.get("VAEFLOW_CACHE_DIR") or platformdirs.user_cache_dir("vaeflow")
        return cls(expanded(given) if given else None, expanded(cache))
