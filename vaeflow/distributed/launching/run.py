"""Handing a launcher's file to the command that takes it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from vaeflow.distributed.launching.launchers import Launcher


def start(launcher: Launcher) -> int:
    """Run a launcher. A shell script takes this process's place, so that signals and the exit code are its own.

    Returns:
        The command's exit code.

    Raises:
        VaeflowError: if the command is missing.
    """
    program, *arguments = launcher.command
    # The script's `vaeflow` and `horovodrun` are those of this Python, also if its directory is not on PATH.
    beside = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    found = shutil.which(program, path=environment["PATH"])
    if found is None:
        raise VaeflowError(
            f"{program} is not on PATH; without --run the file is printed, so that you can use it where {program} is"
        )
    text = launcher.text()
    if program == "bash":
        sys.stdout.flush()
        os.execve(found, [program, *arguments, text, "vaeflow-launch"], environment)  # noqa: S606 No shell in between.
    return subprocess.run([found, *arguments], input=text, text=True, check=False, env=environment).returncode  # noqa: S603
