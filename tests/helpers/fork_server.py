"""Starts vaeflow's command many times without paying for its imports each time.

A server process imports NumPy, TensorFlow, Keras and vaeflow once, and forks a child for each command. It forks before
TensorFlow has made its context: no thread, no device and no operation is there yet, so that the child starts them
itself, as a command does that a shell started. The server refuses to serve if it has more than one thread.

    with ForkServer() as server:
        done = server.run("resume", run_dir)
        assert (done.returncode, done.stderr) == (0, "")

What a child shares with all others, and a command of a shell does not, is what was fixed at the import: the seed of
Python's hashes and environment variables that libraries read when they are loaded (`TF_*`, `LD_PRELOAD`): give those to
the server. For Linux.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from helpers import converted
from helpers.paths import HELPERS

if TYPE_CHECKING:
    from collections.abc import Mapping

TESTS = str(HELPERS.parent)
START = f"import sys; sys.path.append({TESTS!r}); from helpers.fork_server import main; main()"

PATIENCE = 20.0
"""Seconds after which a command that has not ended is killed: it hangs."""

REQUEST = 1 << 20  # bytes
NUMBER = 16  # digits of a process's number; what follows in the same pipe is its end
FIRST = 60.0  # seconds for the imports
IMPORTED = (  # what commands import late, beside all of vaeflow
    "numpy",
    "tensorflow",
    "keras",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "PIL.PngImagePlugin",
    "filelock",
    "tensorboard.plugins.hparams.summary_v2",
    "tensorboard.plugins.projector",
)


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
        reply: where the server tells the exit status.
        began: when, by the monotonic clock.
    """

    pid: int
    output: tuple[int, int]
    reply: int
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
        hung, used = not _readable(self.reply, timeout), 0.0
        while hung and used < (used := self._used()) < timeout:
            hung = not _readable(self.reply, timeout / 4)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what it left behind, too
        reply = os.read(self.reply, 64)
        os.close(self.reply)
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
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = os.memfd_create("log")
        alone = {"OPENBLAS_NUM_THREADS": "1"}  # NumPy's library would start threads when it is loaded
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(theirs.fileno())],
            env={**os.environ, **alone, **self._environment},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        theirs.close()
        self._socket.settimeout(FIRST)
        if self._socket.recv(1) != b"+":
            self.__exit__()
            raise RuntimeError(f"the server did not start: {_content(self._log)}")
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()  # it kills what still runs, and ends
        self._process.wait(PATIENCE)

    def run(self, *arguments: object, timeout: float = PATIENCE, **options: Any) -> Done:
        """Run a command to its end; see `start`.

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
        learn: bool = False,
    ) -> Started:
        """Start a command.

        Args:
            arguments: of `vaeflow`.
            cwd: where it runs; here, if left out.
            environment: variables on top of this process's.
            limits: by `resource.RLIMIT_*`.
            learn: have what AutoGraph converts in this command converted in all that follow, see `converted`.
        """
        request = {
            "arguments": [str(argument) for argument in arguments],
            "cwd": str(cwd or os.getcwd()),  # noqa: PTH109
            "environment": {**os.environ, **self._environment, **(environment or {})},
            "limits": list((limits or {}).items()),
            "learn": learn,
        }
        output = os.memfd_create("stdout"), os.memfd_create("stderr")
        reply, theirs = os.pipe()
        socket.send_fds(self._socket, [json.dumps(request).encode()], [*output, theirs])
        os.close(theirs)
        pid = os.read(reply, NUMBER) if _readable(reply, PATIENCE) else b""
        if not pid:
            raise RuntimeError(f"the server does not answer: {_content(self._log)}")
        return Started(int(pid), output, reply)


def _readable(descriptor: int, timeout: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(timeout))


def _content(descriptor: int) -> str:
    text = os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")
    os.close(descriptor)
    return text


def _import_all() -> None:
    import vaeflow
    from vaeflow.runtime.tensorflow_setup import set_environment

    set_environment()
    for name in IMPORTED:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(vaeflow.__path__, "vaeflow."):
        if not module.name.startswith(("vaeflow.distributed.strategies.horovod", "vaeflow.plugin_kit.testing")):
            importlib.import_module(module.name)


def _require_untouched() -> None:
    """Check that a fork copies all that there is: another thread's work would be lost in a child."""
    from tensorflow.python.eager import context

    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    if threads > 1 or context.context()._context_handle is not None:
        raise RuntimeError(f"{threads} threads, or TensorFlow's context, are there before the first fork")


def _serve(requests: socket.socket) -> list[str]:
    """Fork a child for each request; return its arguments, in the child."""
    waiting: dict[int, tuple[int, int]] = {}  # by the child's pidfd: its number and where its status goes
    lessons: dict[int, int] = {}  # by the number of a child: where it writes what it converts
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fd in waiting:
                    selector.unregister(key.fd)
                    pid, reply = waiting.pop(key.fd)
                    os.close(key.fd)
                    _, status, usage = os.wait4(pid, 0)
                    if pid in lessons:
                        converted.convert(lessons.pop(pid))
                        _require_untouched()
                    os.write(reply, json.dumps([status, usage.ru_utime + usage.ru_stime]).encode())
                    os.close(reply)
                    continue
                message, descriptors, _, _ = socket.recv_fds(requests, REQUEST, 3)
                if not message:
                    _end(waiting)
                stdout, stderr, reply = descriptors
                request = json.loads(message)
                lesson = os.memfd_create("converted") if request["learn"] else None
                pid = os.fork()
                if pid == 0:
                    _close(reply, *waiting, *(other for _, other in waiting.values()))
                    if lesson is not None:
                        converted.record(lesson)
                    return _become(request, stdout, stderr)
                if lesson is not None:
                    lessons[pid] = lesson
                os.write(reply, str(pid).zfill(NUMBER).encode())
                _close(stdout, stderr)
                child = os.pidfd_open(pid)
                waiting[child] = pid, reply
                selector.register(child, selectors.EVENT_READ)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _end(waiting: dict[int, tuple[int, int]]) -> NoReturn:
    for pid, _ in waiting.values():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    os._exit(0)


def _become(request: dict[str, Any], stdout: int, stderr: int) -> list[str]:
    """Make this process one that a shell might have started."""
    os.setsid()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    _close(stdout, stderr)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for limit, value in request["limits"]:
        resource.setrlimit(limit, (value, value))
    return list(request["arguments"])


def main() -> NoReturn:
    """Serve; in a child, which returns from `_serve` with its arguments, run the command."""
    sys.path.remove(TESTS)  # commands do not have it
    _import_all()
    _require_untouched()
    gc.collect()
    gc.freeze()  # so that a child's collections do not copy all pages
    with socket.socket(fileno=int(sys.argv[1])) as _requests:
        _requests.send(b"+")
        sys.argv = ["vaeflow", *_serve(_requests)]
    from vaeflow.cli import main

    sys.exit(main(sys.argv[1:]))
