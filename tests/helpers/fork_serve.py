"""The fork server's process: imports TensorFlow and vaeflow, and forks a child for each command; see `fork_server`."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import pkgutil
import resource
import runpy
import selectors
import signal
import socket
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from helpers.fork_client import FORWARDED

TESTS = str(Path(__file__).parents[1])
REQUEST = 1 << 20  # bytes
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


@dataclass
class Running:
    """A command that runs.

    Attributes:
        pid: its process.
        client: who asked for it; its end is the command's end.
    """

    pid: int
    client: socket.socket

    def kill(self) -> None:
        """Kill the process, if it is there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def _import_all() -> None:
    import vaeflow
    from vaeflow.runtime.tensorflow_setup import set_environment

    set_environment()
    horovod = ("horovod.tensorflow",) if importlib.util.find_spec("horovod") else ()
    for name in (*IMPORTED, *horovod):
        importlib.import_module(name)
    for module in pkgutil.walk_packages(vaeflow.__path__, "vaeflow."):
        strange = "vaeflow.__main__", "vaeflow.plugin_kit.testing", "vaeflow.distributed.strategies.horovod"
        if not module.name.startswith(strange[: 2 if horovod else 3]):
            importlib.import_module(module.name)


def _require_untouched() -> None:
    """Check that a fork copies all that there is: another thread's work would be lost in a child."""
    from tensorflow.python.eager import context

    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    if threads > 1 or context.context()._context_handle is not None:
        raise RuntimeError(f"{threads} threads, or TensorFlow's context, are there before the first fork")


class Server:
    """Serves until its parent's end of the pipe at standard input is closed.

    Args:
        listener: takes a connection for each command.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = listener
        self._running: dict[int, Running] = {}  # by pidfd
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, self._end)

    def serve(self) -> dict[str, Any]:
        """Serve; return in a child, with its request."""
        while True:
            for key, _ in self._selector.select():
                if key.fd in self._selector.get_map() and (request := key.data(key.fd)) is not None:
                    return request

    def _accept(self, _descriptor: int) -> dict[str, Any] | None:
        client, _ = self._listener.accept()
        message, files, _, _ = socket.recv_fds(client, REQUEST, 3)
        if not message:
            client.close()
            return None
        pid = os.fork()
        if pid == 0:
            self._close(client)
            request: dict[str, Any] = json.loads(message)
            _become(request, files)
            return request
        for file in files:
            os.close(file)
        client.send(str(pid).encode())
        pidfd = os.pidfd_open(pid)
        self._running[pidfd] = running = Running(pid, client)
        self._selector.register(pidfd, selectors.EVENT_READ, self._ended)
        self._selector.register(client, selectors.EVENT_READ, lambda _descriptor: self._left(running))
        return None

    def _close(self, client: socket.socket) -> None:
        """Close in a child what is the server's."""
        for pidfd, running in self._running.items():
            running.client.close()
            os.close(pidfd)
        client.close()
        self._listener.close()
        self._selector.close()

    def _left(self, running: Running) -> None:
        """Kill a command whose client has gone."""
        running.kill()
        self._selector.unregister(running.client)

    def _ended(self, pidfd: int) -> None:
        """Tell a command's end."""
        running = self._running.pop(pidfd)
        _, status, usage = os.wait4(running.pid, 0)
        with contextlib.suppress(OSError):
            running.client.send(json.dumps([status, usage.ru_utime + usage.ru_stime]).encode())
        with contextlib.suppress(KeyError):
            self._selector.unregister(running.client)
        running.client.close()
        self._selector.unregister(pidfd)
        os.close(pidfd)
        _require_untouched()

    def _end(self, _descriptor: int) -> NoReturn:
        for running in self._running.values():
            running.kill()
        os._exit(0)


def _become(request: dict[str, Any], files: list[int]) -> None:
    """Make this process one that the client might have started."""
    os.setsid()
    for descriptor, file in enumerate(files):
        os.dup2(file, descriptor)
        os.close(file)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    os.sched_setaffinity(0, request["cores"])
    for limit, value in request["limits"]:
        resource.setrlimit(limit, tuple(value))
    for number in FORWARDED:
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else signal.SIG_DFL)
    if signal.SIGINT not in request["ignored"]:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _run(how: str, *rest: str) -> None:
    """Do what `python HOW REST...` does."""
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    if how == "-m":
        sys.argv = list(rest)
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif how == "-c":
        sys.argv = ["-c", *rest[1:]]
        sys.path.insert(0, "")
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [how, *rest]
        sys.path.insert(0, str(Path(how).resolve().parent))
        runpy.run_path(how, run_name="__main__")


def _end_quickly(code: int) -> NoReturn:
    """Do what Python does at its end, but keep the modules: to delete them copies the server's pages, 0.3 s of a core.

    Workers of a TF_CONFIG end as usual: TensorFlow's cluster service takes leave of the others as it is deleted.
    """
    if "TF_CONFIG" not in os.environ:
        threading._shutdown()
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):  # Python has a message and an exit code for these
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


def main() -> None:
    """Serve at the address that is given; in a child, run its command."""
    sys.path.remove(TESTS)  # commands do not have it
    sys.path.remove("")
    address = sys.argv[1]
    _import_all()
    _require_untouched()
    gc.collect()
    gc.freeze()  # so that a child's collections do not copy all pages
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(64)
    os.write(sys.stdout.fileno(), b"+")
    request = Server(listener).serve()
    try:
        _run(*request["arguments"])
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        _end_quickly(end.code)
    _end_quickly(0)
