"""Kills a sweep of 3 x 3 runs in the middle, resumes and compares it, and prints the transcript for `docs/evaluate.md`.

    python docs/killed_sweep.py

works in a new temporary folder, with two runs at a time. It takes about two minutes on two cores. The exit code is 1 if
a command failed, or if a run that was killed ended with other weights than the same run alone.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = "dataset=digits epochs=40 microbatches=4 checkpoint.every_steps=50 plots.draw=[] log.tensorboard=false"
SWEEP = f"vaeflow sweep mnist-mlp-20 {SETTINGS} seed=0..2 latent_size=2,5,10 --jobs 2 --out runs/sizes"
FINISHED = 4  # runs, when the others are killed
LEFT_OUT = re.compile(r"\d+%\||^epoch |^next: ")
SUMMARY = "runs/sizes/*/summary.json"


def started(command: str, folder: Path) -> subprocess.Popen[str]:
    """Start a command in a process group of its own."""
    words = [sys.executable, "-m", *shlex.split(command)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(words, cwd=folder, start_new_session=True, **streams)  # noqa: S603


def shown(command: str, output: str, seconds: float, note: str = "") -> None:
    """Print a command and what it printed, without progress bars, epochs and what to do next."""
    lines = [line for line in output.splitlines() if line.strip() and not LEFT_OUT.search(line)]
    print("\n".join([f"$ {command}", *lines, f"[{note}{seconds:.0f} s]", ""]))


def ran(command: str, folder: Path) -> str:
    """Run a command to its end and print it."""
    begin = time.monotonic()
    process = started(command, folder)
    output, _ = process.communicate()
    shown(command, output, time.monotonic() - begin)
    if process.returncode:
        sys.exit(1)
    return output


def killed(command: str, folder: Path) -> list[str]:
    """Start the sweep and kill all its processes when some runs have finished; return the runs that had begun."""
    begin = time.monotonic()
    process = started(command, folder)
    while len(list(folder.glob(SUMMARY))) < FINISHED or not begun(folder):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    output, _ = process.communicate()
    shown(command, output, time.monotonic() - begin, f"kill -9, with {FINISHED} of 9 runs finished, ")
    return begun(folder)


def begun(folder: Path) -> list[str]:
    """Return the runs that have a checkpoint after their first step and have not finished."""
    there = {path.parents[1].name for path in folder.glob("runs/sizes/*/checkpoints/step-*[1-9]*")}
    return sorted(there - {path.parent.name for path in folder.glob(SUMMARY)})


def main() -> None:
    """Print the transcript."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "runs").mkdir()
        resumed = killed(SWEEP, folder)
        ran(SWEEP, folder)
        for run in resumed:
            line = re.search(r"resuming from step .*", (folder / f"runs/sizes/{run}.log").read_text())
            print(f"runs/sizes/{run}.log: {line[0] if line else 'not resumed'}")
        settings = resumed[0].replace(",", " ")
        ran(f"vaeflow train mnist-mlp-20 {SETTINGS} {settings} --run-dir runs/alone", folder)
        ends = [
            json.loads((folder / f"runs/{run}/summary.json").read_text()) for run in ("alone", f"sizes/{resumed[0]}")
        ]
        same = ends[0]["state_sha256"] == ends[1]["state_sha256"]
        print(
            f"{resumed[0]} has {'the bits' if same else 'OTHER BITS'} of the run alone, {ends[1]['state_sha256'][:16]}"
        )
        if not same:
            sys.exit(1)


if __name__ == "__main__":
    main()
