"""Kill this process from another one if it hangs, since its launcher would consider it alive."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

# Reads a byte a beat. After too long a silence it kills whom it guards, whose end closes the pipe otherwise.
PROGRAM = """
import os, select, signal, sys
while select.select([0], [], [], float(sys.argv[1]))[0]:
    if not os.read(0, 4096):
        sys.exit()
os.kill(int(sys.argv[2]), signal.SIGKILL)
"""


class Guardian:
    """A small process that kills this one if it hangs.

    Args:
        silence: seconds without a beat after which it does.
    """

    def __init__(self, silence: float) -> None:
        command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(silence), str(os.getpid())]
        quiet = subprocess.DEVNULL
        # In a separate session: a signal to this process's group must not stop the guardian.
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, bufsize=0, start_new_session=True
        )

    def beat(self) -> None:
        """Record that this process is alive."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # it was killed, or has been closed
            self._process.stdin.write(b".")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
