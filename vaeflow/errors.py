"""Errors that a user can act on: one line each, with the exit code the command ends with."""

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
"""Characters of a name that is looked for among others; what is longer is no misspelt name."""

MOST_NAMES = 200
"""Names that an error looks at and lists."""


class VaeflowError(Exception):
    """Something went wrong outside this program: the disk, the network, a machine. Exit code 1.

    Args:
        message: one line for people; it is cut where it is long, and control characters are left out.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class UsageError(VaeflowError):
    """What the user gave is wrong: a key, a name, a value, a file. Exit code 2."""

    exit_code = 2


class FileError(UsageError):
    """A file that can't be used: not there, not a regular file, too large, not UTF-8, not valid. Exit code 2.

    Args:
        message: the file, and what is wrong.
        syntax: whether it is that the text is no JSON or TOML.
    """

    def __init__(self, message: str, *, syntax: bool = False) -> None:
        super().__init__(message)
        self.syntax = syntax


class DataError(UsageError):
    """A data set that cannot be trained on: missing, damaged, of the wrong shape or range. Exit code 2."""


class PluginError(UsageError):
    """A plugin that breaks the contract; the message names the distribution or module. Exit code 2."""


class CheckpointError(VaeflowError):
    """No checkpoint of a run can be trusted, or a checkpoint does not fit the run. Exit code 1."""


class UnsavedError(VaeflowError):
    """A run's newest state is not on the disk: full, read-only, gone. Earlier checkpoints are. Exit code 74."""

    exit_code = 74  # EX_IOERR of sysexits.h


class StoppedError(VaeflowError):
    """A signal asked a run to stop; its state is saved, and `vaeflow resume` goes on. Exit code 75."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: try again


class MembersChangedError(VaeflowError):
    """Processes of an elastic job came or went; the current ones re-form the job and resume."""


class LeavingError(StoppedError):
    """A signal asked this process of an elastic job to leave; the others resume without it. Exit code 75."""


class NonFiniteError(VaeflowError):
    """Losses or gradients were not finite, and the config says to stop; the state is saved. Exit code 4."""

    exit_code = 4


class ElsewhereError(VaeflowError):
    """Another process of the job failed, and has said why; this one ends quietly, with the same exit code.

    Args:
        message: what the other process said.
        exit_code: what it ends with.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RankError(VaeflowError):
    """Another process of the job died, hangs or failed.

    Args:
        message: which one, where, and why.
        exit_code: what the job ends with.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class DivergedError(VaeflowError):
    """Replicas that must hold the same state do not, or a sum over them is wrong. Exit code 1."""


MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.EIO, errno.ESTALE, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EMFILE),
)
"""Errors of the disk that no program can foresee: full, over quota or limit, read-only, forbidden, gone."""


UNREACHABLE = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL))
"""Errors of the network without a Python class of their own."""


def of_the_machine(error: BaseException) -> str | None:
    """Return what the machine refused, in words; None if an error is not the machine's. Imports no TensorFlow.

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
    if tensorflow is not None and isinstance(error, tensorflow.errors.OpError):  # memory or a disk that is full, mostly
        return f"TensorFlow: {_without_traceback(str(error.message))}"
    return None


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
    r"""Return what TensorFlow says in one line, without the places in the code that it says it of.

    >>> _without_traceback("Graph execution error:\n\nDetected at node Sum defined at (most recent call last):\n"
    ...     '  File "x.py", line 3, in f\n\nout of memory\n\t [[{{node Sum}}]] [Op:__inference_f_1]')
    'out of memory'
    """
    places = ("Graph execution error:", "Detected at node", "File ", "<stack traces unavailable>", "Stack trace for op")
    lines = [line.strip() for line in message.splitlines() if not line.strip().startswith(places)]
    return re.split(r" \[\[| Additional GRPC error", " ".join(" ".join(lines).split()))[0]


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return the second half of an error about an unknown name: the nearest one and all there are.

    Args:
        name: what the user wrote.
        allowed: the names there are.

    >>> nearest("adm", ["adam", "sgd"])
    "did you mean 'adam'? There are: adam, sgd"
    >>> nearest("zzz", ["adam", "sgd"])
    'there are: adam, sgd'
    """
    choices = sorted(allowed)
    short = len(name) <= LONGEST_NAME  # or it would take minutes
    close = difflib.get_close_matches(name, choices[:MOST_NAMES], n=1) if short else []
    more = [f"and {len(choices) - MOST_NAMES} more"] if len(choices) > MOST_NAMES else []
    listing = ", ".join([*choices[:MOST_NAMES], *more]) if choices else "none"
    return f"did you mean {close[0]!r}? There are: {listing}" if close else f"there are: {listing}"
