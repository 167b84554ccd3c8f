"""Errors that a user can act on. Each has a one-line message and the exit code of the command."""

from __future__ import annotations

import difflib
import errno
import re
import sys
from typing import TYPE_CHECKING

from vaeflow.echo import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_NAME = 100
"""Longest name, in characters, for which a similar name is suggested."""

MOST_NAMES = 200
"""Most names that an error compares and lists."""


class VaeflowError(Exception):
    """An environment error: disk, network or machine. Base class of all errors of vaeflow. Exit code 1.

    Args:
        message: one line; a long message is truncated and control characters are removed.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class UsageError(VaeflowError):
    """Invalid user input: a key, a name, a value or a file. Exit code 2."""

    exit_code = 2


class FileError(UsageError):
    """A file that can't be used: missing, not a regular file, too large, not UTF-8 or not valid. Exit code 2.

    Args:
        message: the file, and what is wrong.
        syntax: whether the text is not valid JSON or TOML.
    """

    def __init__(self, message: str, *, syntax: bool = False) -> None:
        super().__init__(message)
        self.syntax = syntax


class DataError(UsageError):
    """A data set that cannot be used for training: missing, corrupt, or of a wrong shape or range. Exit code 2."""


class PluginError(UsageError):
    """A plugin that breaks the contract; the message names the distribution or module. Exit code 2."""


class CheckpointError(VaeflowError):
    """No checkpoint of a run is valid, or a checkpoint does not match the run. Exit code 1."""


class UnsavedError(VaeflowError):
    """The newest state could not be saved, since the disk is full, read-only or gone. Exit code 74."""

    exit_code = 74  # EX_IOERR of sysexits.h


class StoppedError(VaeflowError):
    """A signal stopped the run; its state is saved, and `vaeflow resume` continues it. Exit code 75."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


class MembersChangedError(VaeflowError):
    """Processes joined or left an elastic job; the current workers re-form the job and resume."""


class LeavingError(StoppedError):
    """A signal made this process leave an elastic job; the remaining workers resume. Exit code 75."""


class NonFiniteError(VaeflowError):
    """Losses or gradients were not finite, and the config stops the run; the state is saved. Exit code 4."""

    exit_code = 4


class ElsewhereError(VaeflowError):
    """Another process of the job failed and reported why; this process ends without a message, with the same exit code.

    Args:
        message: the message of the other process.
        exit_code: its exit code.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RankError(VaeflowError):
    """Another process of the job died, hangs or failed.

    Args:
        message: the rank, the host and the reason.
        exit_code: of the job.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class DivergedError(VaeflowError):
    """Replicas have different states, or an all-reduce gave a wrong sum. Exit code 1."""


MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ESTALE, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EMFILE),
)
"""Error numbers of the operating system that mean an environment error: disk full, over quota, read-only, forbidden."""


UNREACHABLE = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL))
"""Errors of the network without a Python class of their own."""


def of_the_machine(error: BaseException) -> str | None:
    """Return the message of an environment error; None for any other error. Imports no TensorFlow.

    >>> of_the_machine(OSError(errno.ENOSPC, "No space left on device", "x.png"))
    'x.png: No space left on device'
    >>> of_the_machine(ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
    'network: Connection refused'
    >>> of_the_machine(ValueError("shape"))
    """
    if isinstance(error, OSError) and error.errno in MACHINE:
        return f"{error.filename or 'disk'}: {error.strerror}"
    if _is_of_the_network(error):
        return f"network: {getattr(error, 'strerror', None) or error or type(error).__name__}"
    if isinstance(error, MemoryError):
        return f"out of memory{f': {error}' if str(error) else ''}"
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and isinstance(error, tensorflow.errors.OpError):  # mostly out of memory or disk space
        return f"TensorFlow: {_without_traceback(str(error.message))}"
    return None


def is_of_another_process(error: BaseException) -> bool:
    """Return whether TensorFlow reports that another process of the job ended or left. Imports no TensorFlow.

    >>> is_of_another_process(ValueError("shape"))
    False
    """
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None:
        return False
    return isinstance(error, (tensorflow.errors.UnavailableError, tensorflow.errors.AbortedError))


def _is_of_the_network(error: BaseException) -> bool:
    """Return whether an error is one of connections, names of hosts, certificates or HTTP.

    HTTP libraries (urllib, requests) raise subclasses of OSError of their own, without an error number.
    """
    named = (("socket", "gaierror"), ("ssl", "SSLError"), ("http.client", "HTTPException"))
    kinds = [getattr(sys.modules[module], name) for module, name in named if module in sys.modules]
    if isinstance(error, (ConnectionError, TimeoutError, *kinds)):
        return True
    if not isinstance(error, OSError):
        return False
    return error.errno in UNREACHABLE or (type(error) is not OSError and error.errno is None)


def _without_traceback(message: str) -> str:
    r"""Return a TensorFlow error message as one line, without its stack trace.

    >>> _without_traceback("Graph execution error:\n\nDetected at node Sum defined at (most recent call last):\n"
    ...     '  File "x.py", line 3, in f\n\nout of memory\n\t [[{{node Sum}}]] [Op:__inference_f_1]')
    'out of memory'
    >>> _without_traceback("{{function_node __wrapped__AddV2_device_CPU:0}} incompatible shapes [Op:AddV2]")
    'incompatible shapes'
    >>> _without_traceback("assertion failed: [\'x.npy: it was truncated\'] [[{{node Assert}}]]")
    'x.npy: it was truncated'
    """
    places = ("Graph execution error:", "Detected at node", "File ", "<stack traces unavailable>", "Stack trace for op")
    lines = [line.strip() for line in message.splitlines() if not line.strip().startswith(places)]
    text = re.sub(r"^\{\{function_node \S+\}\} | \[Op:\w+\]", "", " ".join(" ".join(lines).split()))
    first = re.split(r" \[\[| Additional GRPC error", text)[0]
    return re.sub(r"^assertion failed: \[['\"]?(.*?)['\"]?\]$", r"\1", first)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return the second half of an error about an unknown name: the most similar name and all allowed names.

    Args:
        name: the unknown name.
        allowed: the allowed names.

    >>> nearest("adm", ["adam", "sgd"])
    "did you mean 'adam'? Available: adam, sgd"
    >>> nearest("zzz", ["adam", "sgd"])
    'available: adam, sgd'
    """
    choices = sorted(allowed)
    short = len(name) <= LONGEST_NAME  # longer names would take minutes
    close = difflib.get_close_matches(name, choices[:MOST_NAMES], n=1) if short else []
    more = [f"and {len(choices) - MOST_NAMES} more"] if len(choices) > MOST_NAMES else []
    listing = ", ".join([*choices[:MOST_NAMES], *more]) if choices else "none"
    return f"did you mean {close[0]!r}? Available: {listing}" if close else f"available: {listing}"
