"""Close connections that libraries of this process have opened."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

OPEN = Path("/proc/self/fd")


def cut_connections(address: str) -> int:
    """Shut down all TCP connections of this process to a host, including those of libraries.

    Gloo has no call that ends a sum if the other side is silent, and waits for 30 s; on a connection that is shut down
    it fails at once. Only Linux lists a process's open files; on other systems nothing is shut down.

    Args:
        address: the host's, as `socket.getpeername` gives it.

    Returns:
        Their number.
    """
    descriptors = [int(path.name) for path in OPEN.iterdir()] if OPEN.is_dir() else []
    return sum(_shut_down(descriptor, address) for descriptor in descriptors)


def _shut_down(descriptor: int, address: str) -> bool:
    with contextlib.suppress(OSError), _duplicate(descriptor) as connection:  # or it is closed or not connected
        peer = connection.getpeername()
        if connection.type == socket.SOCK_STREAM and peer and _plain(peer[0]) == _plain(address):
            connection.shutdown(socket.SHUT_RDWR)
            return True
    return False


def _duplicate(descriptor: int) -> socket.socket:
    """Return a socket for a copy of a descriptor; closing it leaves the original open. OSError if it is no socket."""
    own = os.dup(descriptor)
    try:
        return socket.socket(fileno=own)
    except OSError:
        os.close(own)
        raise


def _plain(address: object) -> str:
    """Return an IPv4 address that IPv6 wraps without the wrapping."""
    return str(address).removeprefix("::ffff:")
