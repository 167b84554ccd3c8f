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
from vaeflow.cli.interrupts import INTERRUPTED, Interrupts, open_standard_streams
from vaeflow.distributed.job.job import Job
from vaeflow.echo import one_line
from vaeflow.errors import ElsewhereError, RankError, StoppedError, UsageError, VaeflowError, of_the_machine
from vaeflow.runtime.tensorflow_setup import set_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

TRACEBACK = "VAEFLOW_TRACEBACK"
"""Set to 1, this environment variable shows the traceback behind an error's line."""

CHIEF_SPEAKS = 1.0
"""Seconds that other ranks wait where rank 0 has to say why the job ends: launchers end a job with its first process.
What is wrong with the user's input is wrong for all, as a rule: they end before they repeat it."""

USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments; None takes those of the process, which is the command's own then, to its end.

    Returns:
        The exit code.
    """
    interrupts = Interrupts()
    if argv is None:
        open_standard_streams()
        os.environ["MPLBACKEND"] = "agg"  # the user's may be missing here, and nothing is shown in a window
        interrupts.listen()
    set_environment()  # before a plugin imports Keras
    try:
        interrupts.code = _run(argv, interrupts)
    except KeyboardInterrupt:  # a second one
        interrupts.code = INTERRUPTED
        _say("interrupted")
    _flush()
    return interrupts.code


def _run(argv: Sequence[str] | None, interrupts: Interrupts) -> int:
    try:
        result = app.main(args=None if argv is None else list(argv), prog_name="vaeflow", standalone_mode=False)
    except SystemExit as stop:  # click ends the process itself where its output is cut off, as in `vaeflow | head`
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
    line, interrupts.code = _in_words(error, interrupts.heard)
    rank = _rank()
    if rank and isinstance(error, (UsageError, ElsewhereError)):
        time.sleep(CHIEF_SPEAKS)
    if not isinstance(error, ElsewhereError):  # the rank that failed says why itself
        _say(f"{f'[rank {rank}] ' if rank else ''}{line}")
    if isinstance(error, (RankError, ElsewhereError)):
        _end_at_once(interrupts.code)
    return interrupts.code


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody may be left to read it: the code says what happened
        click.echo(f"vaeflow: {one_line(line)}", err=True)


def _end_at_once(code: int) -> NoReturn:
    """End the process without TensorFlow's farewell, which waits some seconds for a process that is gone or stopped."""
    _flush()
    os._exit(code)


def _rank() -> int:
    try:
        return Job.current().rank
    except UsageError:  # of the environment, and it is what is being reported
        return 0


def _in_words(error: BaseException, interrupts: int) -> tuple[str, int]:
    text = one_line(str(error))
    if interrupts > 1 and not isinstance(error, (StoppedError, RankError, ElsewhereError)):  # C++ has words of its own
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
    """Return click's complaint and where help is."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "vaeflow"
    return f"{message}{_setting_hint(error)} (see {command} --help)"


def _setting_hint(error: click.ClickException) -> str:
    """Return how a key of the config is set, where one was given as an option: --epochs 5."""
    from vaeflow.config.schema import Config

    key = str(getattr(error, "option_name", "")).lstrip("-").replace("-", "_")
    return f"; a setting is KEY=VALUE, such as {key}=..." if key in Config.model_fields else ""


def _flush() -> None:
    """Write what is left, so that the interpreter does not complain where nobody reads it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # ValueError: it is closed
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
