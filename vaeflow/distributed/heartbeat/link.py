"""A connection between two processes, on which each sends a heartbeat every second."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BEAT = "beat"
LONGEST = 65536  # bytes of a line; more is no peer of ours
CONNECT = 3.0  # seconds for one address


class Link:
    """Lines over TCP.

    Args:
        connection: a connected socket.
        silence: seconds without a line after which the other side is taken to hang.

    Attributes:
        peer: the other side's address; empty if it has gone before it was known.
        local: whether the other side is on this host.
    """

    def __init__(self, connection: socket.socket, silence: float) -> None:
        self._socket, self.peer, self.local = connection, "", True
        with contextlib.suppress(OSError):  # it may have been closed already
            self.peer = str(connection.getpeername()[0])
            self.local = self.peer == connection.getsockname()[0]
        self._socket.settimeout(silence)
        self._lock = threading.Lock()

    def say(self, line: str) -> None:
        """Send a line. A connection that is gone is noticed by the reader, not here."""
        with self._lock, contextlib.suppress(OSError):
            self._socket.sendall(line.replace("\n", " ").encode() + b"\n")

    def lines(self) -> Iterator[str]:
        """Yield the other side's lines until it closes; heartbeats are skipped.

        Raises:
            TimeoutError: if it is silent for too long.
        """
        rest = b""
        while len(rest) < LONGEST:
            try:
                received = self._socket.recv(4096)
            except TimeoutError:
                raise
            except OSError:  # reset by a process that was killed
                return
            if not received:
                return
            *whole, rest = (rest + received).split(b"\n")
            yield from (line for line in (part.decode(errors="replace") for part in whole) if line != BEAT)

    def close(self) -> None:
        """Close the connection; a reader of it ends."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def listen(*, everywhere: bool) -> socket.socket:
    """Return a listening socket on a free port: on loopback, or on all of this host's addresses."""
    return socket.create_server(("" if everywhere else "127.0.0.1", 0), backlog=1024)


def addresses_towards(hosts: Sequence[str]) -> list[str]:
    """Return this host's IPv4 addresses that packets to other hosts leave from, its own name's last."""
    found = []
    for host in hosts:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))  # sends nothing
            found.append(probe.getsockname()[0])
    return list(dict.fromkeys([*found, socket.gethostname()]))


def connect(addresses: Sequence[str], port: int) -> socket.socket | None:
    """Return a connection to the first address that answers, or None."""
    for address in addresses:
        with contextlib.suppress(OSError):
            return socket.create_connection((address, port), timeout=CONNECT)
    return None
