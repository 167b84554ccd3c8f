"""From an exception to one line and an exit code: 0 done, 1 the world's fault, 2 the user's input, 130 interrupted."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, NoReturn

import click

from vaeflow.cli.app import app
from vaeflow.echo import one_line
from vaeflow.errors import ElsewhereError, RankError, UsageError, VaeflowError, of_the_machine
from vaeflow.job import Job
from vaeflow.runtime import set_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

TRACEBACK = "VAEFLOW_TRACEBACK"
"""Set to 1, this environment variable shows the traceback behind an error's line."""

CHIEF_SPEAKS = 3.0
"""Seconds that other ranks wait where rank 0 has to say why the job ends: launchers end a job with its first process.
What is wrong with the user's input is wrong for all, as a rule: they end before they repeat it."""

USAGE = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        The exit code.
    """
    set_environment()  # before a plugin imports Keras
    try:
        result = app.main(args=None if argv is None else list(argv), prog_name="vaeflow", standalone_mode=False)
    except SystemExit as stop:  # click ends the process itself where its output is cut off, as in `vaeflow | head`
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException as error:  # noqa: BLE001 No traceback reaches the user.
        return _report(error)
    return result if isinstance(result, int) else 0


def _report(error: BaseException) -> int:
    """Write one line about an error and return the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        _silence_stdout()
        return 1
    if os.environ.get(TRACEBACK) == "1":
        traceback.print_exception(error)
    line, code = _in_words(error)
    line = one_line(line)
    rank = _rank()
    if rank and isinstance(error, (UsageError, ElsewhereError)):
        time.sleep(CHIEF_SPEAKS)
    if not isinstance(error, ElsewhereError):  # the rank that failed says why itself
        click.echo(f"vaeflow: {f'[rank {rank}] ' if rank else ''}{line}", err=True)
    if isinstance(error, (RankError, ElsewhereError)):
        _end_at_once(code)
    return code


def _end_at_once(code: int) -> NoReturn:
    """End the process without TensorFlow's farewell, which waits some seconds for a process that is gone or stopped."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _rank() -> int:
    try:
        return Job.current().rank
    except UsageError:  # of the environment, and it is what is being reported
        return 0


def _in_words(error: BaseException) -> tuple[str, int]:
    text = one_line(str(error))
    if isinstance(error, VaeflowError):
        return text, error.exit_code
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return "interrupted", INTERRUPTED
    if isinstance(error, click.ClickException):
        return _usage(error), USAGE
    reason = of_the_machine(error)
    if reason is not None:
        return (reason if isinstance(error, OSError) else f"{reason} ({TRACEBACK}=1 shows where)"), 1
    shown = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{shown} (this is a bug; {TRACEBACK}=1 shows where)", 1


def _usage(error: click.ClickException) -> str:
    """Return click's complaint and where help is."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "vaeflow"
    return f"{message}{_setting_hint(error)} (see {command} --help)"


def _setting_hint(error: click.ClickException) -> str:
    """Return how a key of the config is set, where one was given as an option: --epochs 5."""
    from vaeflow.config import Config

    key = str(getattr(error, "option_name", "")).lstrip("-").replace("-", "_")
    return f"; a setting is KEY=VALUE, such as {key}=..." if key in Config.model_fields else ""


def _silence_stdout() -> None:
    """Keep the interpreter from complaining when it flushes a pipe that nobody reads."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
