"""Turn exceptions into one line and an exit code: 0 success, 1 environment error, 2 invalid input, 130 interrupted."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, NoReturn

import click

from vaeflow.cli.app import app
from vaeflow.cli.interrupts import INTERRUPTED, Interrupts, open_standard_streams
from vaeflow.distributed.job.job import Job
from vaeflow.echo import one_line
from vaeflow.errors import ElsewhereError, RankError, StoppedError, UsageError, VaeflowError, of_the_machine
from vaeflow.runtime.tensorflow_setup import set_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

TRACEBACK = "VAEFLOW_TRACEBACK"
"""If this environment variable is 1, errors are printed with their traceback."""

RANK_0_REPORTS_FIRST = 1.0
"""Seconds that other ranks wait before they end, so that rank 0 can print the error first. Launchers end a job when its
first process ends. Invalid input is usually the same on all ranks, so they end before they print it again."""

USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; None takes those of the process and installs signal handlers for it.

    Returns:
        The exit code.
    """
    interrupts = Interrupts()
    if argv is None:
        open_standard_streams()
        os.environ["MPLBACKEND"] = "agg"  # plots are only written to files; the user's backend may be missing
        interrupts.listen()
    set_environment()  # before a plugin imports Keras
    try:
        interrupts.code = _run(argv, interrupts)
    except KeyboardInterrupt:  # a second one
        interrupts.code = INTERRUPTED
        _print("interrupted")
    _flush()
    return interrupts.code


def _run(argv: Sequence[str] | None, interrupts: Interrupts) -> int:
    try:
        result = app.main(args=None if argv is None else list(argv), prog_name="vaeflow", standalone_mode=False)
    except SystemExit as stop:  # click exits itself when its output is closed, as in `vaeflow | head`
        return stop.code if isinstance(stop.code, int) else 1
    except BaseException as error:  # noqa: BLE001 No traceback reaches the user.
        return _report(error, interrupts)
    return result if isinstance(result, int) else 0


def _report(error: BaseException, interrupts: Interrupts) -> int:
    """Write one line about an error and return the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        return 1
    if os.environ.get(TRACEBACK) == "1":
        traceback.print_exception(error)
    line, interrupts.code = _line_and_code(error, interrupts.count)
    rank = _rank()
    if rank and isinstance(error, (UsageError, ElsewhereError)):
        time.sleep(RANK_0_REPORTS_FIRST)
    if not isinstance(error, ElsewhereError):  # the rank that failed prints the reason
        _print(f"{f'[rank {rank}] ' if rank else ''}{line}")
    if isinstance(error, (RankError, ElsewhereError)):
        _end_at_once(interrupts.code)
    return interrupts.code


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # standard error may be closed
        click.echo(f"vaeflow: {one_line(line)}", err=True)


def _end_at_once(code: int) -> NoReturn:
    """End the process without TensorFlow's shutdown, which waits seconds for processes that are gone or stopped."""
    _flush()
    os._exit(code)


def _rank() -> int:
    try:
        return Job.current().rank
    except UsageError:  # the environment variables are invalid; this is the error that is being reported
        return 0


def _line_and_code(error: BaseException, interrupts: int) -> tuple[str, int]:
    text = one_line(str(error))
    if interrupts > 1 and not isinstance(
        error, (StoppedError, RankError, ElsewhereError)
    ):  # C++ code raises its own errors
        return "interrupted", INTERRUPTED
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
    """Return click's error message and a reference to --help."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "vaeflow"
    return f"{message}{_setting_hint(error)} (see {command} --help)"


def _setting_hint(error: click.ClickException) -> str:
    """Return a hint how to set a config key that was given as an option, such as --epochs 5."""
    from vaeflow.config.schema import Config

    key = str(getattr(error, "option_name", "")).lstrip("-").replace("-", "_")
    return f"; config keys are set by KEY=VALUE, such as {key}=..." if key in Config.model_fields else ""


def _flush() -> None:
    """Flush the output, so that the interpreter prints no error at exit if the streams are closed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # ValueError: it is closed
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
