"""Train the runs of a grid, several at a time; the same command resumes an interrupted sweep."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tqdm import tqdm

from vaeflow.commands.sweep import RECORD
from vaeflow.distributed.job.stop_signals import stop_requests
from vaeflow.errors import StoppedError, VaeflowError
from vaeflow.files.read import read_json
from vaeflow.files.write import write_json
from vaeflow.runtime.console import say
from vaeflow.training.run_files.directory import RunDirectory

if TYPE_CHECKING:
    from typing import IO

    from vaeflow.commands.sweep import Point, Sweep
    from vaeflow.commands.sweep_queue import Queue

POLL = 0.1  # seconds
PATIENCE = 60.0  # seconds in which runs that were stopped save their states


def run_sweep(sweep: Sweep, queue: Queue, at_once: int) -> None:
    """Train the runs that have not finished, some at a time, and resume those that have begun.

    Args:
        sweep: the grid, or the ranges of a search.
        queue: its runs.
        at_once: how many at a time.

    Raises:
        StoppedError: if a signal stopped them; their states are saved.
        VaeflowError: if runs failed; the others were trained.
    """
    sweep.out.mkdir(parents=True, exist_ok=True)
    write_json(sweep.out / RECORD, sweep.record())
    before = queue.done
    if before:
        say(f"{before} of {queue.total} runs have finished before")
    failed: list[Point] = []
    with ExitStack() as stack:
        request = stack.enter_context(stop_requests())
        bar = tqdm(total=queue.total, initial=before, unit="run", dynamic_ncols=True, disable=None)
        stack.enter_context(bar)
        running: list[_Running] = []
        stack.callback(_stop, running)
        while True:
            if request.number is not None:
                _stop(running)
                raise StoppedError(
                    f"stopped by {request.number.name}: {queue.done} of {queue.total} runs have finished, and the "
                    "states of those that had begun are saved; the same command resumes them"
                )
            while len(running) < at_once and (point := queue.take()) is not None:
                running.append(_Running.start(sweep, point))
            if not running:
                break
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                one.output.close()
                bar.update()
                say(_line(one))
                if one.process.returncode != StoppedError.exit_code:  # a run that was stopped can be resumed
                    queue.ended(one.point, failed=bool(one.process.returncode))
                if one.process.returncode:
                    failed.append(one.point)
            time.sleep(POLL)
    if failed:
        logs = ", ".join(str(point.log) for point in failed)
        raise VaeflowError(f"{len(failed)} of {queue.total} runs failed; see {logs}")


@dataclass(frozen=True)
class _Running:
    """A run in a process of its own."""

    point: Point
    process: subprocess.Popen[bytes]
    output: IO[bytes]

    @classmethod
    def start(cls, sweep: Sweep, point: Point) -> _Running:
        output = point.log.open("ab")
        command = sweep.command(point)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603
        return cls(point, process, output)


def _stop(running: list[_Running]) -> None:
    """Stop the runs that are left, and wait until they have saved."""
    for one in running:
        one.process.terminate()
    until = time.monotonic() + PATIENCE
    for one in running:
        try:
            one.process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
        one.output.close()
    running.clear()


def _line(one: _Running) -> str:
    name = " ".join(one.point.own)
    if one.process.returncode:
        return f"{name}: failed with exit code {one.process.returncode}, see {one.point.log}"
    metrics = read_json(RunDirectory(one.point.run_dir).summary).get("metrics", {})
    elbo = next(
        (f"{key} {metrics[key]:.2f}" for key in ("test/elbo", "validation/elbo", "train/elbo") if key in metrics), ""
    )
    return f"{name}: {elbo}"
