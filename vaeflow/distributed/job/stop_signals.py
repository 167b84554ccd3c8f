"""Signals that ask a run to stop, remembered until the next moment at which all processes can stop together."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""What schedulers, people, terminals that are closed and `sbatch --signal=USR1@60` send."""


class StopRequest:
    """Whether this process received a stop signal.

    Attributes:
        number: the first signal that came; None before.
    """

    number: signal.Signals | None = None

    def remember(self, number: int, _frame: Any) -> None:
        """Handle a signal. A second Ctrl-C ends the process at once."""
        if self.number == number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or signal.Signals(number)


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Record stop signals instead of dying from them, inside the context.

    Only a process's main thread can: elsewhere, signals do what they did. So does one that is ignored, as Ctrl-C is for
    a shell's background jobs.
    """
    request = StopRequest()
    with kept_handlers():
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, request.remember)
        yield request


@contextlib.contextmanager
def kept_handlers() -> Iterator[None]:
    """Put the handlers of `SIGNALS` back in the end, also those that C++ code replaced."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # no other may
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)  # None: was not set from Python either
