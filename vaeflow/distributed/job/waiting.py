"""Wait for the other processes of a job, without TensorFlow, whose own wait ignores signals."""

from __future__ import annotations

import os
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

from vaeflow.errors import UsageError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PATIENCE = "VAEFLOW_RENDEZVOUS_TIMEOUT"
SECONDS = 300.0  # each process loads its data before it connects, and one may have to download them
PAUSE = 0.1  # seconds between attempts
ANSWER = 1.0  # seconds until an answer


def seconds_to_wait(environ: Mapping[str, str] = os.environ) -> float:
    """Return how many seconds a process waits for the others: VAEFLOW_RENDEZVOUS_TIMEOUT, or 300.

    Args:
        environ: the environment's variables.

    Raises:
        UsageError: if it is not a positive number.
    """
    return seconds_of(PATIENCE, SECONDS, environ)


def seconds_of(variable: str, default: float, environ: Mapping[str, str] = os.environ) -> float:
    """Return the seconds in an environment variable.

    Args:
        variable: its name.
        default: used if it is not set.
        environ: the environment's variables.

    Raises:
        UsageError: if it is not a positive number.
    """
    text = environ.get(variable, "")
    try:
        seconds = float(text or default)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"{variable}={text!r} is not a number of seconds above 0")
    return seconds


def await_others(addresses: Sequence[str], seconds: float) -> None:
    """Wait until all processes except this one, rank 0, listen.

    Args:
        addresses: `HOST:PORT` of each rank.
        seconds: timeout.

    Raises:
        VaeflowError: if some do not start; the message names them.
    """
    end = time.monotonic() + seconds
    others = list(enumerate(addresses))[1:]
    missing = {rank: address for rank, address in others if wait(end, partial(_why_not, address))}
    if missing:
        where = ", ".join(missing.values())
        raise VaeflowError(
            f"{ranks_in_words(list(missing))} did not start within {seconds:g} s: nothing listens at {where}. Check "
            f"that all were started and that no firewall blocks the connection; {PATIENCE} sets the timeout in seconds"
        )


def wait(end: float, why_not: Callable[[], str]) -> str:
    """Retry until there is no error or the time is over; return the last error."""
    reason = why_not()
    while reason and time.monotonic() < end:
        time.sleep(PAUSE)
        reason = why_not()
    return reason


def ranks_in_words(numbers: Sequence[int]) -> str:
    """Return ranks in words.

    >>> ranks_in_words([3]), ranks_in_words([1, 2, 5])
    ('rank 3', 'ranks 1, 2, 5')
    """
    return f"rank{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _why_not(address: str) -> str:
    """Return why nothing listens at an address, or an empty text."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
    return ""
