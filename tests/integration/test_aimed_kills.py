"""Kills at every change of the disk in a run's first and last second: `--resume auto` ends with the undisturbed bits.

So do those in the first second of a run that is resumed.
`make test-faults` has the long form: VAEFLOW_AIMED_KILLS=300.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from helpers.aimed import Change, changes, compiled, killed_at, watched
from helpers.fork_server import ForkServer
from helpers.small_runs import on, rows, summary, write_digits

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("VAEFLOW_AIMED_KILLS", "3"))
STEPS, EVERY = 24, 8
SETTINGS = (
    *("microbatches=4", "batch_size=8", f"steps={STEPS}", f"checkpoint.every_steps={EVERY}", "checkpoint.keep=2"),
    *("log.every_steps=4", 'plots.draw=["samples", "curves"]'),
)
PATIENCE = 120  # seconds
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody killed.

    Attributes:
        arguments: of the command, but the run's directory.
        run: its directory.
        aims: what is killed: changes, each also in its middle if it is a write.
        start: a run that was killed before, which the next kill finds; None if it finds nothing.
    """

    arguments: list[str]
    run: Path
    aims: list[tuple[Change, bool]]
    start: Path | None = None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ForkServer({"LD_PRELOAD": str(compiled(tmp_path_factory.mktemp("library")))}) as server:
        yield server


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, mnist_content, server):
    """A run without TensorBoard's logs, one with them, and one that is resumed in its middle."""
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = on(write_digits(folder / "digits.npz", mnist_content, train=64, test=8), *SETTINGS)
    made = []
    for board in ("false", "true"):
        run, arguments = folder / board, command(settings, board)
        seen = watched_run(server, arguments, run)
        made.append(Undisturbed(arguments, run, with_middles(first_and_last(seen))))
    start = killed_run(server, arguments, folder / "killed", saves(seen)[-2])
    resumed = shutil.copytree(start, folder / "resumed")
    seen = watched_run(server, arguments, resumed)
    return [*made, Undisturbed(arguments, run, with_middles(until_the_first_save(seen)), start)]


def command(settings, board):
    return ["train", "mnist-2d", *settings, f"log.tensorboard={board}", "--resume", "auto", "--run-dir"]


def watched_run(server, arguments, run):
    """Run to the end and return what changed."""
    log = run.with_suffix(".log")
    done = server.run(*arguments, run, environment=watched(run, log), timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    return changes(log)


def killed_run(server, arguments, run, save):
    """Return a run that was killed after a save."""
    killed = server.run(*arguments, run, environment=killed_at(run, save.number + 1, torn=False), timeout=PATIENCE)
    assert killed.returncode == -signal.SIGKILL
    return run


def saves(seen):
    return [change for change in seen if change.what == "rename" and "/step-" in change.path[-15:]]


def until_the_first_save(seen):
    return [change for change in seen if change.number <= saves(seen)[0].number]


def first_and_last(seen):
    """Return what changes until the first checkpoint is there and the logs are open, and from the last save on."""
    numbers = [change.number for change in saves(seen)]
    assert len(numbers) == 1 + STEPS // EVERY
    begun = next(c.number for c in seen if c.number > numbers[0] and c.path == "/metrics.jsonl" and c.what == "write")
    saving = next(c.number for c in seen if c.number > numbers[-2] and f"step-{STEPS:09d}" in c.path)
    return [change for change in seen if change.number <= begun or change.number >= saving]


def with_middles(chosen):
    return [(change, torn) for change in chosen for torn in (False, True) if change.what == "write" or not torn]


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_a_change_of_the_disk(tmp_path, server, undisturbed, number):
    """By turns without and with TensorBoard's logs and in a resumed run, spread evenly over the changes there are."""
    there = undisturbed[number % 3]
    change, torn = there.aims[number // 3 * len(there.aims) // -(-KILLS // 3)]
    run = tmp_path / "run"
    if there.start is not None:
        shutil.copytree(there.start, run)
    killed = server.run(*there.arguments, run, environment=killed_at(run, change.number, torn=torn), timeout=PATIENCE)
    assert killed.returncode == -signal.SIGKILL, (change, killed)
    done = server.run(*there.arguments, run, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, ""), (change, torn, done)
    assert what_is_wrong(run, there.run) == [], (change, torn, done.stdout)
    shutil.rmtree(run)


def what_is_wrong(run, undisturbed):
    """Yield how a run that was killed and resumed differs from one that was not."""
    wrong = [f"{path.relative_to(run)} was left" for path in run.rglob("*") if ".partial" in path.name]
    if not (run / "summary.json").is_file():
        return [*wrong, "no summary.json"]
    wrong += [key for key, value in summary(undisturbed).items() if summary(run)[key] != value]
    if rows(run) != rows(undisturbed):
        wrong.append("metrics.jsonl has other rows")
    names = {str(path.relative_to(undisturbed)) for path in undisturbed.rglob("*") if path.suffix == ".png"}
    wrong += [f"{name} is missing" for name in sorted(names) if not (run / name).is_file()]
    return wrong + [f"{path.name} is no valid checkpoint" for path in checkpoints(run) if not is_valid(path)]


def checkpoints(run):
    return sorted((run / "checkpoints").iterdir())


def is_valid(checkpoint):
    """Say whether a checkpoint has all files, with the checksums in its manifest."""
    try:
        expected = json.loads((checkpoint / "manifest.json").read_text())["sha256"]
    except OSError:
        return False
    found = {path.name: path for path in checkpoint.iterdir() if path.name != "manifest.json"}
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}
    return digests == expected and len(found) >= 4


def test_the_library_sees_all_changes(tmp_path, server, undisturbed):
    """What a run leaves is what it was seen to make."""
    there = undisturbed[1]
    run, log = tmp_path / "run", tmp_path / "log"
    done = server.run(*there.arguments, run, environment=watched(run, log), timeout=PATIENCE)
    assert done.returncode == 0
    made = {change.path for change in changes(log) if change.what in ("open", "rename")}
    left = {f"/{path.relative_to(run)}" for path in run.rglob("*") if path.is_file()}
    assert {path for path in left if path not in made and path.rpartition("/")[0] not in made} == set()
