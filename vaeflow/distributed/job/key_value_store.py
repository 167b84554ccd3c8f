"""A store of small values that the processes of a job share: Horovod's protocol, plain HTTP. Imports no TensorFlow."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER = 5.0  # seconds until an answer
BACKLOG = 1024  # all ranks of a large job call at once
LARGEST = 2**22  # bytes of a value


@dataclass(frozen=True)
class KeyValues:
    """A client of the store.

    Attributes:
        address: the server's host.
        port: its TCP port.
        scope: prefix of all keys.
    """

    address: str
    port: int
    scope: str

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"

    def get(self, key: str) -> bytes | None:
        """Return a value; None if there is none yet.

        Raises:
            OSError: if the server does not answer.
        """
        status, value = self._request("GET", key)
        return value if status == http.HTTPStatus.OK else None

    def put(self, key: str, value: bytes) -> None:
        """Set a value.

        Raises:
            OSError: if the server does not answer, or is another program.
        """
        status, _ = self._request("PUT", key, value)
        if status != http.HTTPStatus.OK:
            raise ConnectionError("another program uses this address")

    def _request(self, method: str, key: str, value: bytes | None = None) -> tuple[int, bytes]:
        """Send a request to the server, without a proxy."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=ANSWER)
        try:
            connection.request(method, f"/{self.scope}/{key}", value)
            answer = connection.getresponse()
            return answer.status, answer.read(LARGEST)
        except http.client.HTTPException as error:
            raise ConnectionError(f"another program uses this address ({type(error).__name__})") from error
        finally:
            connection.close()


@contextlib.contextmanager
def serving(address: str, port: int) -> Iterator[None]:
    """Serve a store inside the context.

    Args:
        address: where it listens; empty for all of this host's addresses.
        port: the TCP port. It is free again afterwards.

    Raises:
        OSError: if the address is not this host's, or the port is taken.
    """
    with _Server((address, port), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="meeting", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, place: tuple[str, int], handler: type[http.server.BaseHTTPRequestHandler]) -> None:
        super().__init__(place, handler, bind_and_activate=False)
        self.socket.close()
        self.socket = _listening(*place)
        self.values: dict[str, bytes] = {}


def _listening(address: str, port: int) -> socket.socket:
    """Return a socket that listens on an address, or on all addresses of this host, including IPv6 if available."""
    if not address and socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            place = ("", port)
            return socket.create_server(place, family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return socket.create_server((address, port), family=family, backlog=BACKLOG)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = ANSWER

    def do_GET(self) -> None:
        """Answer with a value, or with 404."""
        value = self.server.values.get(self.path)
        self._answer(http.HTTPStatus.NOT_FOUND if value is None else http.HTTPStatus.OK, value or b"")

    def do_PUT(self) -> None:
        """Store a value of a limited size."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > LARGEST:
            self._answer(http.HTTPStatus.BAD_REQUEST, b"")
            return
        value = self.rfile.read(int(length))
        if len(value) == int(length):
            self.server.values[self.path] = value
            self._answer(http.HTTPStatus.OK, b"")

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""

    def _answer(self, status: http.HTTPStatus, value: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(value)))
        self.end_headers()
        self.wfile.write(value)
