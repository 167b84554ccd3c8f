"""Host changes that horovodrun reports to the first process of an elastic job."""

from __future__ import annotations

import threading
from typing import Any


class HostChanges:
    """Receives host changes from the launcher, which sends them to rank 0 only, over an authenticated connection."""

    def __init__(self) -> None:
        from horovod.common.elastic import notification_manager

        self._received = threading.Event()
        notification_manager.init()
        notification_manager.register_listener(self)

    @property
    def received(self) -> bool:
        """Whether hosts have changed since `clear`."""
        return self._received.is_set()

    def clear(self) -> None:
        """Discard changes: the processes have re-formed the job."""
        self._received.clear()

    def on_hosts_updated(self, _timestamp: int, _result: Any) -> None:
        """Record a change; Horovod calls this method from its own thread."""
        self._received.set()
