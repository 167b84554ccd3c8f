"""Signals that stop a run: they are stored until all processes can stop at the same step."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""The signals of schedulers, users, closed terminals and `sbatch --signal=USR1@60`."""


class StopRequest:
    """Whether this process received a stop signal.

    Attributes:
        number: the first signal received, or None.
    """

    number: signal.Signals | None = None

    def receive(self, number: int, _frame: Any) -> None:
        """Handle a signal. A second Ctrl-C ends the process at once."""
        if self.number == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or signal.Signals(number)


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Record stop signals inside the context, instead of ending the process.

    This works only in the main thread; in other threads, signals keep their handlers. An ignored signal stays ignored,
    such as Ctrl-C for a shell's background jobs.
    """
    request = StopRequest()
    with kept_handlers():
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, request.receive)
        yield request


@contextlib.contextmanager
def kept_handlers() -> Iterator[None]:
    """Restore the handlers of `SIGNALS` at the end, even if C++ code replaced them."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # other threads can't set handlers
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)  # None: it was not set from Python
