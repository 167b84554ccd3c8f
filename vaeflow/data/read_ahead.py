"""Read the examples of the next step in a thread of their own while a step computes."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

MOST = 64
"""Batches that are ready or being read; with more microbatches per process the oldest are read again."""


class ReadAhead:
    """Rows by their indices, of which each call says which ones come next.

    Only the order of reading changes: rows that were not read ahead are read by the call that needs them.

    Args:
        read: returns rows for indices [B]; a pure function. It may raise, then the call that needs the rows does.
    """

    def __init__(self, read: Callable[[np.ndarray], np.ndarray]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._pending: dict[bytes, Future[np.ndarray]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def rows(self, index: np.ndarray, following: np.ndarray) -> np.ndarray:
        """Return rows [B, *X] for indices [B], and begin to read those of `following`; none if that is empty."""
        with self._lock:
            ready = self._pending.pop(index.tobytes(), None)
        if len(following):
            self._begin(following)
        return self._read(index) if ready is None else ready.result()

    def _begin(self, index: np.ndarray) -> None:
        key = index.tobytes()
        with self._lock:
            if key in self._pending:
                return
            if self._pool is None:  # not before: a fork would lose its thread
                self._pool = ThreadPoolExecutor(1, "vaeflow-read-ahead")
            if len(self._pending) >= MOST:
                self._pending.pop(next(iter(self._pending))).cancel()
            self._pending[key] = self._pool.submit(self._read, index.copy())
