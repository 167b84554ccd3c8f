"""Ctrl-C in the command's own process, from its start to its very end."""

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
"""The exit code of a command that Ctrl-C has ended, as a shell has it."""

PATIENCE = 5.0
"""Seconds from a second Ctrl-C to the process's end by force: what hears none of it may run in C++."""


class Interrupts:
    """Lets Ctrl-C end the process in one way at any moment: one line, a known exit code.

    Python alone ends a process by the signal itself where a second Ctrl-C comes while the first is being reported, and
    hears neither of them while C++ code runs. So a thread counts them, and ends what does not end by itself.

    Attributes:
        heard: how many there were.
        code: what the process ends with, once that is known; nothing is interrupted from then on.
    """

    def __init__(self) -> None:
        self.heard = 0
        self.code: int | None = None

    def listen(self) -> None:
        """Take Ctrl-C for this process, to its end. A process that ignores it goes on to do so."""
        if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
            return
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            return
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)  # C code writes there, whatever Python does
        signal.signal(signal.SIGINT, self._raise)
        threading.Thread(target=self._watch, args=(read,), name="interrupts", daemon=True).start()
        atexit.register(_ignore)  # is called last: from there on Python would put the signal's own way back

    def _raise(self, _number: int, _frame: Any) -> None:
        if self.code is None:
            raise KeyboardInterrupt

    def _watch(self, read: int) -> None:
        while True:
            numbers = os.read(read, 64)
            self.heard += numbers.count(signal.SIGINT)
            if self.heard > 1 or (self.heard and self.code is not None):
                time.sleep(PATIENCE)
                self._end()

    def _end(self) -> None:
        if self.code is None:
            os.write(2, b"\nvaeflow: interrupted\n")
        os._exit(INTERRUPTED if self.code is None else self.code)


def _ignore() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def open_standard_streams() -> None:
    """Connect what is closed of standard input, output and error to nowhere.

    Otherwise the next file that is opened takes its number, and what is written for people goes there.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 For the process's life.
