"""Horovod's own rendezvous server, in rank 0. Imports no TensorFlow."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass
from functools import partial

from vaeflow.distributed.job.waiting import ranks_in_words, wait
from vaeflow.errors import VaeflowError

PLACE = "VAEFLOW_RENDEZVOUS"
SCOPE = "vaeflow"
ANSWER = 5.0  # seconds until an answer
BACKLOG = 1024  # all ranks of a large job call at once


@dataclass(frozen=True)
class Rendezvous:
    """The server's address.

    Attributes:
        address: an IPv4 address of rank 0's host.
        port: the TCP port.
        job: a name of the job, so that no process joins another job.
    """

    address: str
    port: int
    job: str

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"

    def serve(self) -> None:
        """Start the server, in rank 0: it listens on this address only, until the process ends.

        Raises:
            VaeflowError: if the address is not this host's, or the port is taken.
        """
        from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

        class Server(RendezvousHTTPServer):
            daemon_threads = True
            request_queue_size = BACKLOG

        try:
            # Horovod's RendezvousServer.start would take a random port on all addresses.
            server = Server((self.address, self.port), RendezvousHandler, 0)
        except OSError as error:
            raise VaeflowError(
                f"rank 0 cannot listen at {self} ({error.strerror or error}); {PLACE}=HOST:PORT sets another address"
            ) from error
        server.cache[SCOPE] = {"job": self.job.encode()}
        threading.Thread(target=server.serve_forever, name="rendezvous", daemon=True).start()

    def join(self, rank: int, size: int, patience: float) -> None:
        """Wait until all processes of the job have connected.

        Args:
            rank: of this process.
            size: number of processes.
            patience: seconds.

        Raises:
            VaeflowError: if the server does not answer in time, or other ranks do not connect.
        """
        end = time.monotonic() + patience
        reason = wait(end, partial(self._why_not, "GET", "job", wanted=self.job.encode()))
        reason = reason or wait(end, partial(self._why_not, "PUT", f"rank-{rank}", body=b"here"))
        if reason:
            raise VaeflowError(
                f"rank {rank} did not reach rank 0's rendezvous server at {self} within {patience:g} s: {reason}; "
                f"{PLACE}=HOST:PORT sets another address"
            )
        missing = [other for other in range(size) if wait(end, partial(self._why_not, "GET", f"rank-{other}"))]
        if missing:
            raise VaeflowError(
                f"{ranks_in_words(missing)} did not connect to {self} within {patience:g} s of rank {rank}"
            )

    def _why_not(self, method: str, key: str, body: bytes | None = None, wanted: bytes | None = None) -> str:
        """Send a request to the server, without a proxy; return why it did not answer as wanted, or nothing."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=ANSWER)
        try:
            connection.request(method, f"/{SCOPE}/{key}", body)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()
        fits = answer.status == http.HTTPStatus.OK and wanted in (None, text)
        return "" if fits else "another program uses this address"
