"""What horovodrun tells the first process of an elastic job: hosts have come or are to go."""

from __future__ import annotations

import threading
from typing import Any


class HostChanges:
    """Listens to the launcher. It speaks to rank 0 alone, over a connection with a secret of its own."""

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
        """Start anew: the processes have met again."""
        self._received.clear()

    def on_hosts_updated(self, _timestamp: int, _result: Any) -> None:
        """Be told; Horovod calls it from a thread of its own."""
        self._received.set()
