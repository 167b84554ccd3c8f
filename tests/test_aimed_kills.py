"""Kills at every change of the disk in a run's first and last second: `--resume auto` ends with the undisturbed bits.

`VAEFLOW_AIMED_KILLS=200 python -m pytest -n 2 tests/test_aimed_kills.py` is the long form, `make test-faults`.
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
from aimed import Change, changes, compiled, killed_at, watched
from fork_server import ForkServer
from small_runs import on, rows, summary, write_digits

if TYPE_CHECKING:
    from pathlib import Path

KILLS = int(os.environ.get("VAEFLOW_AIMED_KILLS", "6"))
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
    """

    arguments: list[str]
    run: Path
    aims: list[tuple[Change, bool]]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with ForkServer({"LD_PRELOAD": str(compiled(tmp_path_factory.mktemp("library")))}) as server:
        yield server


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, mnist_content, server):
    """A run without TensorBoard's logs and one with them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = on(write_digits(folder / "digits.npz", mnist_content, train=64, test=8), *SETTINGS)
    return [watched_run(folder, server, [*settings, f"log.tensorboard={board}"]) for board in ("false", "true")]


def watched_run(folder, server, settings):
    run, log = folder / settings[-1], folder / f"{settings[-1]}.log"
    arguments = ["train", "mnist-2d", *settings, "--resume", "auto", "--run-dir"]
    done = server.run(*arguments, run, environment=watched(run, log), timeout=PATIENCE, learn=True)
    assert (done.returncode, done.stderr) == (0, "")
    aims = [aim for change in first_and_last(changes(log)) for aim in ways(change)]
    return Undisturbed(arguments, run, aims)


def first_and_last(changes):
    """Return what changes until the first checkpoint is there and the logs are open, and from the last save on."""
    saves = [change.number for change in changes if change.what == "rename" and "/step-" in change.path[-15:]]
    assert len(saves) == 1 + STEPS // EVERY
    begun = next(c.number for c in changes if c.number > saves[0] and c.path == "/metrics.jsonl" and c.what == "write")
    saving = next(c.number for c in changes if c.number > saves[-2] and f"step-{STEPS:09d}" in c.path)
    return [change for change in changes if change.number <= begun or change.number >= saving]


def ways(change):
    return [(change, False), (change, True)] if change.what == "write" else [(change, False)]


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_a_change_of_the_disk(tmp_path, server, undisturbed, number):
    """By turns without and with TensorBoard's logs, spread evenly over the changes there are."""
    there = undisturbed[number % 2]
    change, torn = there.aims[number // 2 * len(there.aims) // -(-KILLS // 2)]
    run = tmp_path / "run"
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
