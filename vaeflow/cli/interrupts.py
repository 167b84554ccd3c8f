"""Handle Ctrl-C in the command's process, from start to exit."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

INTERRUPTED = 130
"""The exit code after Ctrl-C, as in a shell."""

PATIENCE = 5.0
"""Seconds from a second Ctrl-C to a forced exit. C++ code may run that does not handle the signal."""


class Interrupts:
    """Makes Ctrl-C end the process the same way at any moment: one line and a fixed exit code.

    Without this, Python dies from the signal if a second Ctrl-C arrives while the first is reported, and handles no
    signal while C++ code runs. A thread therefore counts the signals and forces the exit if the process does not end.

    Attributes:
        count: number of interrupts so far.
        code: the exit code, once it is known; interrupts have no effect from then on.
    """

    def __init__(self) -> None:
        self.count = 0
        self.code: int | None = None

    def listen(self) -> None:
        """Handle Ctrl-C in this process until it ends. A process that ignores SIGINT keeps ignoring it."""
        if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
            return
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            return
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)  # Python's C handler writes there at once
        signal.signal(signal.SIGINT, self._raise)
        threading.Thread(target=self._watch, args=(read,), name="interrupts", daemon=True).start()
        atexit.register(_ignore)  # runs last; after it, Python would restore the default handler

    def _raise(self, _number: int, _frame: Any) -> None:
        if self.code is None:
            raise KeyboardInterrupt

    def _watch(self, read: int) -> None:
        while True:
            numbers = os.read(read, 64)
            self.count += numbers.count(signal.SIGINT)
            if self.count > 1 or (self.count and self.code is not None):
                time.sleep(PATIENCE)
                self._end()

    def _end(self) -> None:
        if self.code is None:
            os.write(2, b"\nvaeflow: interrupted\n")
        os._exit(INTERRUPTED if self.code is None else self.code)


def _ignore() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def open_standard_streams() -> None:
    """Redirect standard streams that are closed to the null device.

    Otherwise the next file that is opened would get the stream's number, and messages would be written into that file.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 For the process's life.
