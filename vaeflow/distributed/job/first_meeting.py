"""The first exchange of a job's processes: each sends a text, rank 0 compares them and returns a verdict to all.

It takes place before TensorFlow is imported and before any strategy joins the processes, so it needs neither: what
differs between ranks would make collectives wait for each other forever. If horovodrun started the job, its own
rendezvous server is used. Else rank 0 serves one, at the address that the others will use later, and
stops before TensorFlow or Horovod take the port.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vaeflow.distributed.job.horovod_environment import rendezvous_of
from vaeflow.distributed.job.hosts import LOOPBACK, Hosts
from vaeflow.distributed.job.job import UNSUPPORTED
from vaeflow.distributed.job.key_value_store import KeyValues, serving
from vaeflow.distributed.job.ports import PORT, first_port
from vaeflow.distributed.job.rendezvous import PLACE
from vaeflow.distributed.job.waiting import PATIENCE, PAUSE, ranks_in_words, seconds_to_wait
from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vaeflow.distributed.job.job import Job

SCOPE = "vaeflow-meeting"
GONE = 5.0  # seconds without an answer after which rank 0 counts as gone
FAREWELL = 10.0  # seconds that rank 0 waits until all have read the verdict
MISSING = "missing"


@dataclass(frozen=True)
class MeetingPlace:
    """The rendezvous of a job's processes.

    Attributes:
        job: this process's place in it.
        store: the key-value store that they share.
        listen: address where rank 0 serves the store; None if the launcher serves it.
        patience: seconds that they wait for each other.
    """

    job: Job
    store: KeyValues
    listen: tuple[str, int] | None
    patience: float

    @classmethod
    def of(cls, job: Job, environ: Mapping[str, str] = os.environ) -> MeetingPlace | None:
        """Return the rendezvous of a job's processes; None for one process or an elastic job.

        Args:
            job: this process's place.
            environ: the environment's variables.

        Raises:
            UsageError: if the launcher's variables are invalid.
            VaeflowError: if a host has no address.
        """
        if job.processes == 1 or job.elastic or job.launcher == UNSUPPORTED:
            return None
        if job.launcher == "horovodrun":
            return cls._at_horovodrun(job, environ)
        if job.launcher == "TF_CONFIG":
            return cls._at_first_worker(job, environ)
        place = rendezvous_of(job, Hosts.of(job, environ), environ)
        if not environ.get(PLACE) and environ.get(PORT):
            place = replace(place, port=first_port(job, environ))
        store = KeyValues(place.address, place.port, _scope(place.job))
        return cls(job, store, (place.address, place.port), seconds_to_wait(environ))

    @classmethod
    def _at_horovodrun(cls, job: Job, environ: Mapping[str, str]) -> MeetingPlace | None:
        """Return the launcher's own server; None if Horovod uses MPI, which has no server."""
        host, port = environ.get("HOROVOD_GLOO_RENDEZVOUS_ADDR"), environ.get("HOROVOD_GLOO_RENDEZVOUS_PORT", "")
        if not host or not port.isdecimal():
            return None
        return cls(job, KeyValues(host, int(port), SCOPE), None, seconds_to_wait(environ))

    @classmethod
    def _at_first_worker(cls, job: Job, environ: Mapping[str, str]) -> MeetingPlace:
        cluster = json.loads(environ["TF_CONFIG"])["cluster"]
        addresses = [*cluster.get("chief", []), *cluster.get("worker", [])]
        host, _, port = str(addresses[0]).rpartition(":")
        store = KeyValues(host.strip("[]"), int(port), _scope(json.dumps(addresses)))
        # TensorFlow's server listens on all addresses too: the name in TF_CONFIG need not be an address of this host.
        return cls(job, store, ("", int(port)), seconds_to_wait(environ))

    def hold(self, own: str, judge: Callable[[list[str]], str], *, patience: float | None = None) -> str:
        """Send a text and return the verdict on all texts. Each process calls this once.

        Args:
            own: this process's text.
            judge: called on rank 0 only, with the texts of all ranks.
            patience: seconds to wait; None uses the default.

        Raises:
            VaeflowError: on all ranks that connected, if others do not connect in time.
        """
        if patience is not None:
            return replace(self, patience=min(patience, self.patience)).hold(own, judge)
        if self.job.rank > 0:
            return self._as_other(own)
        here = self.store if self.listen is None else replace(self.store, address=self.listen[0] or LOOPBACK)
        return replace(self, store=here)._as_first(own, judge)  # noqa: SLF001

    def _as_first(self, own: str, judge: Callable[[list[str]], str]) -> str:
        with self._served():
            end = time.monotonic() + self.patience
            texts = {0: own} | {
                rank: text for rank in range(1, self.job.processes) if (text := self._wait_for(f"rank-{rank}", end))
            }
            missing = [rank for rank in range(self.job.processes) if rank not in texts]
            verdict = self._without(missing) if missing else judge([texts[rank] for rank in range(len(texts))])
            self.store.put("verdict", json.dumps({MISSING: bool(missing), "verdict": verdict}).encode())
            if self.listen is not None:
                end = time.monotonic() + FAREWELL
                for rank in sorted(texts)[1:]:
                    self._wait_for(f"read-{rank}", end)
        return _checked(verdict, missing=bool(missing))

    def _as_other(self, own: str) -> str:
        end = time.monotonic() + self.patience
        if not self._poll(lambda: self._put(f"rank-{self.job.rank}", own), end):
            raise VaeflowError(
                f"rank {self.job.rank} did not reach rank 0 at {self.store} within {self.patience:g} s. Check that "
                f"it was started and that no firewall blocks the connection; {PATIENCE} sets the timeout in seconds"
            )
        answer = self._wait_for("verdict", end + self.patience)
        if not answer:
            raise VaeflowError(f"rank {self.job.rank}: rank 0 at {self.store} ended before all ranks had connected")
        with contextlib.suppress(OSError):
            self.store.put(f"read-{self.job.rank}", b"yes")
        found = json.loads(answer)
        return _checked(found["verdict"], missing=found[MISSING])

    def _put(self, key: str, value: str) -> str:
        self.store.put(key, value.encode())
        return key

    def _wait_for(self, key: str, end: float) -> str:
        def request() -> str:
            return (self.store.get(key) or b"").decode()

        return self._poll(request, end, gone=GONE)

    def _poll(self, request: Callable[[], str], end: float, gone: float = float("inf")) -> str:
        """Poll until there is an answer; give up at the end, or if nothing has listened for some seconds."""
        answered = time.monotonic()
        while True:
            try:
                answer = request()
                answered = time.monotonic()
            except OSError:
                answer = ""
            if answer or time.monotonic() >= end or time.monotonic() - answered > gone:
                return answer
            time.sleep(PAUSE)

    def _without(self, missing: list[int]) -> str:
        return (
            f"{ranks_in_words(missing)} did not connect to {self.store} within {self.patience:g} s of rank 0. Check "
            f"that all were started and that no firewall blocks the connection; {PATIENCE} sets the timeout in seconds"
        )

    @contextlib.contextmanager
    def _served(self) -> Iterator[None]:
        """Serve the store in this process, rank 0, unless the launcher serves it."""
        if self.listen is None:
            yield
            return
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(serving(*self.listen))
            except OSError as error:
                raise VaeflowError(
                    f"rank 0 cannot listen at {self.store} ({error.strerror or error}); "
                    f"{PLACE}=HOST:PORT sets another address"
                ) from error
            yield


def _scope(job: str) -> str:
    """Return a scope that differs from those of other jobs at this address."""
    return f"{SCOPE}-{hashlib.sha256(job.encode()).hexdigest()[:16]}"


def _checked(verdict: str, *, missing: bool) -> str:
    if missing:
        raise VaeflowError(verdict)
    return verdict
