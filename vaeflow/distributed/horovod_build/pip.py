"""Run pip with the user's configuration: registry, proxy, certificates."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE = 1800.0  # seconds
QUIET = ("--no-input", "--disable-pip-version-check", "--quiet")


class PipError(VaeflowError):
    """A pip command failed.

    Args:
        what: its purpose, such as `download x`.
        output: its output.
    """

    def __init__(self, what: str, output: str) -> None:
        lines = [line.strip().removeprefix("ERROR: ") for line in output.splitlines() if line.strip()]
        errors = [line.strip().removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR")]
        reason = (errors or lines or ["there was no output"])[-1]
        super().__init__(f"pip could not {what}: {reason}")
        self.output = output


def run_pip(what: str, *arguments: str, environ: Mapping[str, str] = os.environ) -> None:
    """Run pip of this Python.

    Args:
        what: its purpose, for the error.
        *arguments: pip's command and options.
        environ: the environment's variables.

    Raises:
        PipError: if it fails, or takes more than half an hour.
    """
    command = [sys.executable, "-m", "pip", *arguments, *QUIET]
    # --target and --user exclude each other, and the user's configuration may set --user.
    settings = {**environ, "PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    try:
        done = subprocess.run(  # noqa: S603 The arguments are vaeflow's.
            command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=settings
        )
    except subprocess.TimeoutExpired as error:
        raise PipError(what, f"it did not finish in {PATIENCE:g} s") from error
    if done.returncode:
        raise PipError(what, f"{done.stdout}\n{done.stderr}")
