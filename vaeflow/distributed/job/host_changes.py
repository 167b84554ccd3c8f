"""What horovodrun tells the first process of an elastic job: hosts have come or are to go."""

from __future__ import annotations

import threading
from typing import Any


class HostChanges:
    """Listens to the launcher. It speaks to rank 0 alone, over a connection with a secret of its own."""

    def __init__(self) -> None:
        from horovod.common.elastic import notification_manager

        self._heard = threading.Event()
        notification_manager.init()
        notification_manager.register_listener(self)

    @property
    def heard(self) -> bool:
        """Whether hosts have changed since `forget`."""
        return self._heard.is_set()

    def forget(self) -> None:
        """Start anew: the processes have met again."""
        self._heard.clear()

    def on_hosts_updated(self, _timestamp: int, _result: Any) -> None:
        """Be told; Horovod calls it from a thread of its own."""
        self._heard.set()
