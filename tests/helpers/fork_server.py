"""Starts commands of Python many times without paying for TensorFlow's import each time.

A server process imports NumPy, TensorFlow, Keras and vaeflow once, and forks a child for each command. It forks before
TensorFlow has made its context: no thread, no device and no operation is there yet, so that the child starts them
itself, as a command does that a shell started. The server refuses to serve if it has more than one thread.

    with ForkServer() as server:
        done = server.run("resume", run_dir)
        assert (done.returncode, done.stderr) == (0, "")
            subprocess.run([*server.python, "-m", "vaeflow", "resume", run_dir])
        subprocess.run([server.programs / "horovodrun", "-np", "2", *server.python, "-m", "vaeflow", "resume", run_dir])

The command in the last lines is a process of its own with standard streams, signals and an end of its own, so launchers
can start it. Only these differ: `/proc` shows the work in a child of the server, not in that process; SIGSTOP does not
reach it; what is fixed at the import is the server's: the seed of Python's hashes and environment variables that
libraries read when they are loaded (`TF_*`, `LD_PRELOAD`), which are given to the server; and a command ends without
deleting Python's modules, after its threads, `atexit` and the streams' buffers. For Linux.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from helpers import fork_client
from helpers.paths import HELPERS

if TYPE_CHECKING:
    from collections.abc import Mapping

TESTS = str(HELPERS.parent)
START = f"import sys; sys.path.append({TESTS!r}); from helpers.fork_serve import main; main()"

PATIENCE = 20.0
"""Seconds after which a command that has not ended is killed: it hangs."""

FIRST = 300.0  # seconds for the imports, on a machine with other work
_SEEDED: list[ForkServer] = []  # by `seed_server`


@dataclass(frozen=True)
class Done:
    """A command that has ended; the names are those of `subprocess.CompletedProcess`.

    Attributes:
        returncode: its exit code; the number of a signal that ended it, negative.
        stdout: its standard output.
        stderr: its standard error.
        seconds: from the fork to the end.
        cpu_seconds: of a core that it had, with what it started.
        hung: whether it was killed after its time.
    """

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    cpu_seconds: float
    hung: bool


@dataclass
class Started:
    """A command that runs.

    Attributes:
        pid: of its process, which leads a session of its own.
        output: descriptors of what it writes to standard output and error.
        server: the connection by which the server tells the exit status.
        began: when, by the monotonic clock.
    """

    pid: int
    output: tuple[int, int]
    server: socket.socket
    began: float = field(default_factory=time.monotonic)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the process, if it is there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def _used(self) -> float:
        """Return the seconds of a core that the process has had."""
        with contextlib.suppress(OSError):
            times = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
        return 0.0

    def wait(self, timeout: float = PATIENCE) -> Done:
        """Wait for the end; kill the process and all that it started if it hangs.

        It hangs if it is there after its time, unless it does something and had less than its time of a core: others
        may use the machine, too.
        """
        hung, used = not _readable(self.server, timeout), 0.0
        while hung and used < (used := self._used()) < timeout:
            hung = not _readable(self.server, timeout / 4)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what it left behind, too
        with self.server:
            reply = self.server.recv(64)
        if not reply:
            raise RuntimeError("the server was killed while a command ran")
        status, cpu_seconds = json.loads(reply)
        stdout, stderr = (_content(descriptor) for descriptor in self.output)
        code = os.waitstatus_to_exitcode(status)
        return Done(code, stdout, stderr, time.monotonic() - self.began, cpu_seconds, hung)


class ForkServer:
    """A server for one test process. Several commands may run at a time.

    Args:
        environment: variables on top of this process's, for libraries that read them when they are loaded.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(environment or {})

    def __enter__(self) -> Self:
        self._folder = tempfile.mkdtemp(prefix="fork-")
        self._address = str(Path(self._folder) / "server")
        self._log = os.memfd_create("log")
        alone = {"OPENBLAS_NUM_THREADS": "1"}  # NumPy's library would start threads when it is loaded
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, self._address],
            env={**os.environ, **alone, **self._environment},
            stdin=subprocess.PIPE,  # the server ends when this process does
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self._process.stdout is not None
        _write_programs(self.programs, self.python)
        if not _readable(self._process.stdout, FIRST) or self._process.stdout.read(1) != b"+":
            self._process.kill()
            self.__exit__()
            raise RuntimeError(f"the server did not start: {_content(self._log)}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # it kills what still runs, and ends
        self._process.wait(PATIENCE)
        self._process.stdout.close()
        shutil.rmtree(self._folder)

    @property
    def python(self) -> tuple[str, ...]:
        """What to write instead of `python` in a command."""
        return sys.executable, "-IS", fork_client.__file__, self._address

    @property
    def programs(self) -> Path:
        """The folder of `python`, `vaeflow` and `horovodrun`, for what looks for them on PATH or beside `python`."""
        return Path(self._folder) / "bin"

    def run(self, *arguments: object, timeout: float = PATIENCE, **options: Any) -> Done:
        """Run `vaeflow ARGUMENTS` to its end; see `start`.

        Args:
            arguments: of `vaeflow`.
            timeout: seconds after which it is killed.
            options: see `start`.
        """
        return self.start(*arguments, **options).wait(timeout)

    def start(
        self,
        *arguments: object,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        limits: Mapping[int, int] | None = None,
    ) -> Started:
        """Start `vaeflow ARGUMENTS`, without a process between.

        Args:
            arguments: of `vaeflow`.
            cwd: where it runs; here, if left out.
            environment: variables on top of this process's.
            limits: by `resource.RLIMIT_*`.
        """
        request = fork_client.request(
            ["-m", "vaeflow", *map(str, arguments)],
            {**os.environ, **self._environment, **(environment or {})},
            str(cwd or os.getcwd()),  # noqa: PTH109
        )
        request["limits"] = [(limit, (value, value)) for limit, value in (limits or {}).items()]
        output = os.memfd_create("stdout"), os.memfd_create("stderr")
        server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        server.connect(self._address)
        with Path(os.devnull).open("rb") as nothing:
            socket.send_fds(server, [json.dumps(request).encode()], [nothing.fileno(), *output])
        if not _readable(server, PATIENCE):
            raise RuntimeError(f"the server does not answer: {_content(self._log)}")
        return Started(int(server.recv(64)), output, server)


def _write_programs(folder: Path, python: tuple[str, ...]) -> None:
    """Write programs that do what those beside Python do, but their commands come from the server.

    What else `python` is asked for, or with a seed of Python's hashes that has no server, is started as a shell does.
    """
    folder.mkdir()
    real, forked = Path(sys.executable), shlex.join(python)
    seed = shlex.quote(os.environ.get("PYTHONHASHSEED", ""))
    ours = f'if [ "$1 $2" = "-m vaeflow" ] && [ "$PYTHONHASHSEED" = {seed} ]; then exec {forked} "$@"; fi'
    place = f'place={shlex.quote(str(folder))}/seed-"$PYTHONHASHSEED"'
    seeded = f'if [ "$1" = "-m" ] && [ -f "$place" ]; then exec {shlex.join(python[:-1])} "$(cat "$place")" "$@"; fi'
    programs = {
        "python": f'{ours}\n{place}\n{seeded}\nexec {shlex.quote(str(real))} "$@"',
        "vaeflow": f'exec {forked} -m vaeflow "$@"',
        "horovodrun": f'exec {forked} {shlex.quote(str(real.parent / "horovodrun"))} "$@"',
    }
    for name, line in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)


@functools.cache
def server() -> ForkServer:
    """Return the server of this test process, which is started by the first call and ends with the process."""
    return ForkServer().__enter__()


@functools.cache
def seed_server(seed: str) -> ForkServer:
    """Return a server whose Python has a seed of hashes; the `python` of `server()` hands modules on to it."""
    seeded = ForkServer({"PYTHONHASHSEED": seed}).__enter__()
    (server().programs / f"seed-{seed}").write_text(seeded.python[-1])
    _SEEDED.append(seeded)
    return seeded


def end_all() -> None:
    """End the servers of this test process."""
    for one in [*_SEEDED, *([server()] if server.cache_info().currsize else [])]:
        one.__exit__()


def worker_of(pid: int) -> int:
    """Return the process that does a command's work: a child of the server, or itself after a plain start."""
    name, _, number = Path(f"/proc/{pid}/comm").read_text().strip().partition(" ")
    return int(number) if name == "fork" else pid


def _readable(descriptor: Any, timeout: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(timeout))


def _content(descriptor: int) -> str:
    text = os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")
    os.close(descriptor)
    return text
