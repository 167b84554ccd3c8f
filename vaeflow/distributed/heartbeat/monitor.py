"""Heartbeats between rank 0 and all others. If a connection closes without a message, its process has died."""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import secrets
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING

from vaeflow.distributed.heartbeat.cut_connections import cut_connections
from vaeflow.distributed.heartbeat.guardian import Guardian
from vaeflow.distributed.heartbeat.link import BEAT, Link, addresses_towards, connect, listen
from vaeflow.distributed.job.waiting import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vaeflow.distributed.strategies.processes import Processes

SILENCE = "VAEFLOW_SILENCE"
"""Seconds without a heartbeat after which a process is considered hanging; 10 if this variable is not set."""
DEFAULT_SILENCE = 10.0

GRACE = 2.0  # seconds for the main thread to end by itself: usually its all-reduce fails, too
ELASTIC_GRACE = 40.0  # if no connection can be cut, Gloo's all-reduce fails after 30 s by itself
LATE = 1.5  # seconds; a heartbeat may have been sent just before a process stopped
LATER = 1.0  # seconds more until a process that hangs is killed: the others name its silence first
LOST = 1  # exit code


@dataclass(frozen=True)
class End:
    """Why a job ends early.

    Attributes:
        reason: for the error message.
        code: exit code of the processes.
        silent: whether rank 0 is lost, so that the others must print the reason.
    """

    reason: str
    code: int = LOST
    silent: bool = False


class Watch:
    """Watches the other processes from background threads; see the module.

    Args:
        processes: of the job. All of them create a watch at the same time.
        before_exit: called before a process whose main thread hangs in an all-reduce is ended.
        elastic: whether the others continue without a lost process; they get more time then.
        advice: what to do next; printed after the reason.
    """

    def __init__(
        self,
        processes: Processes,
        *,
        before_exit: Callable[[], None] = lambda: None,
        elastic: bool = False,
        advice: str = "",
    ) -> None:
        self._rank, self._chief, self._count = processes.rank, processes.chief, processes.count
        self._before_exit, self._elastic, self._advice = before_exit, elastic, advice
        self._silence = seconds_of(SILENCE, DEFAULT_SILENCE)
        self._links: list[Link] = []
        self._closed, self._ended = threading.Event(), threading.Event()
        self._end: End | None = None
        self._lock = threading.Lock()
        self._guardian: Guardian | None = None
        if self._count > 1:
            self._meet(processes)
            # The launcher of an elastic job continues without a process when that has ended.
            self._guardian = Guardian(self._silence + LATER) if elastic else None
            _thread(self._beat)

    def end(self) -> End | None:
        """Return why the job ends, when that is known; None if all others are alive.

        A silent process is detected late: an all-reduce may fail before.
        """
        self._ended.wait(self._silence + LATE if self._count > 1 else 0.0)
        return self._end

    def in_words(self, end: End) -> str:
        """Return why the job ends, and what to do next."""
        return f"{end.reason}. {self._advice}" if self._advice else end.reason

    def fail(self, reason: str, code: int) -> bool:
        """Notify the others that this process ends early, and stop watching.

        Returns:
            Whether rank 0 was notified, which then prints the reason.
        """
        self._tell_all(End(reason if self._chief else f"rank {self._rank}: {reason}", code))
        notified = not self._chief and bool(self._links)
        self.close()
        return notified

    def close(self) -> None:
        """Stop watching; the others may end from now on."""
        self._closed.set()
        if self._guardian:
            self._guardian.close()
        for link in self._links:
            link.say("bye")
            link.close()

    # The beginning

    def _meet(self, processes: Processes) -> None:
        hosts = processes.gather(socket.gethostname())
        server = listen(everywhere=bool(set(hosts[1:]) - {hosts[0]})) if self._chief else None
        token, port = secrets.token_hex(16), server.getsockname()[1] if server else 0
        others = [host for host in dict.fromkeys(hosts) if host != hosts[0]]
        addresses = addresses_towards(others) if others else []
        where = addresses or ["127.0.0.1"]
        offer = processes.broadcast(json.dumps([token, port, where, os.getpid()]).encode())
        token, port, addresses, pid = json.loads(offer)
        if server:
            _thread(partial(self._accept, server, token))
            return
        found = connect(addresses, port)
        if found is None:
            self._print(
                f"warning: rank 0 can't be reached at {', '.join(addresses)} port {port}; processes that die or hang "
                "are detected only by the strategy's own timeouts"
            )
            return
        link = Link(found, self._silence)
        link.say(json.dumps([token, self._rank, socket.gethostname(), os.getpid()]))
        self._links.append(link)
        who = f"rank 0 (host {hosts[0]}, process {pid})"
        _thread(partial(self._read, link, link.lines(), who, chief=True))

    def _accept(self, server: socket.socket, token: str) -> None:
        server.settimeout(1.0)
        with server:
            while len(self._links) < self._count - 1 and not self._closed.is_set():
                with contextlib.suppress(TimeoutError):
                    link = Link(server.accept()[0], self._silence)
                    _thread(partial(self._greet, link, token))

    def _greet(self, link: Link, token: str) -> None:
        lines = link.lines()
        try:
            given, rank, host, pid = json.loads(next(lines, "[]"))
        except (ValueError, TypeError, TimeoutError):  # another program's connection
            given = ""
        if not hmac.compare_digest(str(given).encode(), token.encode()):
            link.close()
            return
        self._links.append(link)
        self._read(link, lines, f"rank {int(rank)} (host {host}, process {int(pid)})")

    # Life

    def _beat(self) -> None:
        while not self._closed.wait(min(1.0, self._silence / 5)):
            for link in tuple(self._links):
                link.say(BEAT)
            if self._guardian:
                self._guardian.beat()

    def _read(self, link: Link, lines: Iterator[str], who: str, *, chief: bool = False) -> None:
        try:
            for line in lines:
                if line == "bye":
                    return
                self._lose(End(**json.loads(line)))
                return
            reason = f"{who} died: its connection was closed unexpectedly"
        except TimeoutError:
            reason = f"{who} sent no heartbeat for {self._silence:g} s: it is stopped, or cut off from the network"
            if self._elastic and not link.local and not self._closed.is_set():
                cut_connections(link.peer)  # an all-reduce with that host fails now, not after Gloo's timeout
        self._lose(End(reason, silent=chief))

    # The end

    def _lose(self, end: End) -> None:
        with self._lock:
            if self._end is not None or self._closed.is_set():
                return
            self._end = end
        self._tell_all(end)
        self._ended.set()
        if not self._closed.wait(ELASTIC_GRACE if self._elastic else GRACE):
            self._exit(end)

    def _tell_all(self, end: End) -> None:
        for link in tuple(self._links):
            link.say(json.dumps(asdict(end)))

    def _exit(self, end: End) -> None:
        """End this process although its main thread waits in an all-reduce, which no exception interrupts."""
        if self._chief or end.silent:
            self._print(self.in_words(end))
        else:
            time.sleep(GRACE)  # launchers end a job with its first process, and rank 0 must print its message first
        self._before_exit()
        os._exit(end.code)

    def _print(self, line: str) -> None:
        """Write to standard error, from any thread."""
        sys.stderr.write(f"vaeflow: {f'[rank {self._rank}] ' if self._rank else ''}{line}\n")
        sys.stderr.flush()


def _thread(target: Callable[[], None]) -> None:
    threading.Thread(target=target, daemon=True, name="watch").start()
