"""Errors that a user can act on: one line each, with the exit code the command ends with."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class VaeflowError(Exception):
    """Something went wrong outside this program: the disk, the network, a machine. Exit code 1."""

    exit_code = 1


class UsageError(VaeflowError):
    """What the user gave is wrong: a key, a name, a value, a file. Exit code 2."""

    exit_code = 2


class DataError(UsageError):
    """A data set that cannot be trained on: missing, damaged, of the wrong shape or range. Exit code 2."""


class PluginError(UsageError):
    """A plugin that breaks the contract; the message names the distribution or module. Exit code 2."""


class CheckpointError(VaeflowError):
    """No checkpoint of a run can be trusted, or a checkpoint does not fit the run. Exit code 1."""


class ElsewhereError(VaeflowError):
    """Another process of the job failed, and has said why; this one ends quietly, with the same exit code.

    Args:
        message: what the other process said.
        exit_code: what it ends with.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class DivergedError(VaeflowError):
    """Replicas that must hold the same state do not, or a sum over them is wrong. Exit code 1."""


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
    close = difflib.get_close_matches(name, choices, n=1)
    listing = ", ".join(choices) if choices else "none"
    return f"did you mean {close[0]!r}? There are: {listing}" if close else f"there are: {listing}"
