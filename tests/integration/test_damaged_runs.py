"""Damaged run directories: the undisturbed run's bits, or one line; never a traceback, a hang, or other bits.

`make test-faults` has the long form: VAEFLOW_DAMAGES=2000. A failure names its number:
`VAEFLOW_DAMAGES=1 VAEFLOW_FIRST_DAMAGE=NUMBER` does that one again.
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from helpers import fork_server
from helpers.damage_scene import Scene
from helpers.damages import do_damage
from helpers.small_runs import on, rows, summary, write_digits

if TYPE_CHECKING:
    from pathlib import Path

    from helpers.fork_server import Done, ForkServer

FEW = range(12)  # of a kind each
FIRST = int(os.environ.get("VAEFLOW_FIRST_DAMAGE", "0"))
NUMBERS = range(FIRST, FIRST + int(os.environ["VAEFLOW_DAMAGES"])) if "VAEFLOW_DAMAGES" in os.environ else FEW
COMMANDS = ("evaluate", "resume", "auto")
STEPS, EVERY = 24, 8
SETTINGS = (
    *("microbatches=4", "batch_size=8", f"steps={STEPS}", f"checkpoint.every_steps={EVERY}", "checkpoint.keep=4"),
    *("log.every_steps=4", 'plots.draw=["curves"]'),
)
MEMORY = {resource.RLIMIT_AS: 16 << 30}  # for a reader of /dev/zero
ORDINARY = re.compile(
    r"epoch \d.* ELBO |.*from step \d+ of \d+$|.*already finished at step \d+ of \d+"
    r"|mnist-2d: test ELBO |\S+: summary.json, |next: "
)
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Runs:
    """Runs to damage.

    Attributes:
        settings: of all of them, but the seed.
        finished: a run that came to its end.
        stopped: the same, as it was after two thirds of its steps.
        other: those two for another seed, by the name of the first.
        scores: what `evaluate` finds, by the step of the newest checkpoint.
    """

    settings: list[str]
    finished: Path
    stopped: Path
    other: dict[str, Path]
    scores: dict[int, dict[str, float]]

    def scene(self, number: int, folder: Path) -> tuple[Scene, int]:
        """Return copies to damage, and the step of the newest checkpoint."""
        name = random.Random(f"run {number}").choice(["stopped", "stopped", "finished"])
        scene = Scene(folder / "run", self.other[name], folder / "outside")
        shutil.copytree(getattr(self, name), scene.run)
        shutil.copytree(self.other[name], scene.outside)
        shutil.copytree(scene.outside / "checkpoints", scene.outside / "checkpoints" / ".step-000000099.1.partial")
        (scene.outside / "victim.txt").write_text("not yours")
        os.mkfifo(scene.outside / "fifo")
        return scene, STEPS - EVERY * (name == "stopped")


@pytest.fixture(scope="module")
def server():
    return fork_server.server()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, mnist_content, server):
    return make_runs(tmp_path_factory.mktemp("runs"), mnist_content, server)


def make_runs(folder, mnist_content, server) -> Runs:
    settings = on(write_digits(folder / "digits.npz", mnist_content, train=64, test=8), *SETTINGS)
    made = {}
    for seed, name in enumerate(("mine", "other")):
        finished, stopped = folder / name / "finished", folder / name / "stopped"
        done = server.run("train", "mnist-2d", "--run-dir", finished, *settings, f"seed={seed}", timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
        shutil.copytree(finished, stopped)
        shutil.rmtree(stopped / "checkpoints" / f"step-{STEPS:09d}")
        shutil.rmtree(stopped / "plots")
        (stopped / "summary.json").unlink()
        made[name] = {"finished": finished, "stopped": stopped}
    scores, shrinking = {}, folder / "shrinking"
    shutil.copytree(made["mine"]["finished"], shrinking)
    for step in range(STEPS, -1, -EVERY):
        scores[step] = metrics_of(server.run("evaluate", shrinking, timeout=120))
        shutil.rmtree(shrinking / "checkpoints" / f"step-{step:09d}")
    assert len({json.dumps(score) for score in scores.values()}) == len(scores)
    return Runs(settings, **made["mine"], other=made["other"], scores=scores)


@pytest.mark.parametrize("number", NUMBERS)
def test_damaged(request, tmp_path, server, runs, number):
    """Each of the first numbers is tried by one command, by turns; with --all by every command."""
    commands = COMMANDS if request.config.getoption("--all") or NUMBERS is not FEW else [COMMANDS[number % 3]]
    problems = [problem for command in commands for problem in tried(tmp_path / command, server, runs, number, command)]
    assert not problems, "\n\n".join(problems)
    shutil.rmtree(tmp_path)


def tried(folder: Path, server: ForkServer, runs: Runs, number: int, command: str) -> list[str]:
    """Damage a copy of a run and try a command on it; return what must not be, in words."""
    scene, newest = runs.scene(number, folder)
    damage = do_damage(number, scene)
    run, outside = snapshot(scene.run), snapshot(scene.outside)
    arguments = (
        [scene.run] if command != "auto" else ["mnist-2d", "--run-dir", scene.run, *runs.settings, "--resume", "auto"]
    )
    done = server.run("train" if command == "auto" else command, *arguments, cwd=folder, limits=MEMORY)
    wrong = list(misbehaved(done))
    if changed := differences(outside, snapshot(scene.outside)):
        wrong.append(f"files changed outside: {changed}")
    if not wrong:
        wrong += (
            evaluated(done, scene, runs, run, newest)
            if command == "evaluate"
            else trained(done, scene, runs, run, damage)
        )
    shown = f"exit code {done.returncode} after {done.seconds:.1f} s\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return [f"damage {number} ({damage}), {command}: {problem}\n{shown}" for problem in wrong]


def misbehaved(done: Done):
    """Yield what no command may do."""
    lines = done.stderr.splitlines()
    last = lines.pop() if done.returncode and lines else ""
    if done.hung:
        yield "hangs"
    elif "Traceback" in done.stdout + done.stderr or "this is a bug" in done.stderr:
        yield "a bug, by its own words"
    elif done.returncode not in (0, 1, 2, 74):
        yield "an exit code that is not 0, 1, 2 or 74"
    elif done.returncode and not last.startswith("vaeflow: "):
        yield "an error without its line"
    elif not all(line.startswith(("warning: ", "mnist: from the cache")) for line in lines):  # an empty config's data
        yield "a line on standard error that is no warning"
    elif max(map(len, [*lines, last])) > 2000:
        yield "a line that nobody can read"


def evaluated(done: Done, scene: Scene, runs: Runs, before: dict, newest: int) -> list[str]:
    """Say whether an evaluation was of a checkpoint of this run, the newest or with a word, and changed nothing."""
    there = [step for step in runs.scores if f"checkpoints/step-{step:09d}" in before and step <= newest]
    changed = [name for name in differences(before, snapshot(scene.run)) if name != "evaluation-test.json"]
    wrong = [f"changed {changed}"] if changed else []
    if done.returncode == 0:
        steps = [step for step, score in runs.scores.items() if score == metrics_of(done)]
        if not steps and not words(done):
            wrong.append("a score of no checkpoint, without a word")
        elif steps and there and steps[0] != max(there) and not words(done):
            wrong.append(f"the score of step {steps[0]}, without a word")
    return wrong


def trained(done: Done, scene: Scene, runs: Runs, before: dict, damage: str) -> list[str]:
    """Say whether a run has the undisturbed one's bits, or left all that there was."""
    after = snapshot(scene.run)
    if done.returncode:
        lost = [name for name in differences(before, after) if name.startswith("checkpoints/") and name in before]
        return [f"an error, and lost {lost}"] if lost else []
    wrong = []
    begun_again = "epoch 1/3" in done.stdout and "from step" not in done.stdout
    if not same_end(scene.run, runs.finished):
        if not (begun_again and words(done)):  # by a config that was changed before anything was trained
            wrong.append("other bits")
    elif "config.toml" not in damage and "metrics.jsonl" not in damage and rows(scene.run) != rows(runs.finished):
        wrong.append("other rows in metrics.jsonl")
    trained_before = set(before) & {"summary.json", "metrics.jsonl", "checkpoints", "plots"}
    if begun_again and trained_before and not words(done):
        wrong.append(f"begun again, without a word, where there was {sorted(trained_before)}")
    if left := [name for name in after if name.endswith(".partial") and name not in before]:
        wrong.append(f"left {left}")
    return wrong


def same_end(run: Path, undisturbed: Path) -> bool:
    """Say whether the last checkpoint's arrays and what the summary says of them are the undisturbed run's."""
    try:
        if summary(run)["state_sha256"] != summary(undisturbed)["state_sha256"]:
            return False
        name = f"checkpoints/step-{STEPS:09d}/state.safetensors"
        return (run / name).read_bytes() == (undisturbed / name).read_bytes()
    except (OSError, ValueError, KeyError):
        return False


def words(done: Done) -> list[str]:
    """Return the lines that say something beyond what an undisturbed command says."""
    lines = [*f"\n{done.stdout}".partition("\n{\n")[0].splitlines(), *done.stderr.splitlines()]
    return [line for line in lines if line and not ORDINARY.match(line)]


def metrics_of(done: Done) -> dict[str, float]:
    """Return what `evaluate` printed, below lines for people."""
    text = done.stdout[done.stdout.index("{\n") :]
    return json.loads(text)["metrics"]


def snapshot(folder: Path) -> dict[str, object]:
    """Return all that is in a folder by name, without following links: files' contents, links' targets, kinds."""
    found: dict[str, object] = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = folder.__class__(parent) / name
            status = path.lstat()
            content: object = oct(status.st_mode)
            if path.is_symlink():
                content = os.readlink(path)  # noqa: PTH115
            elif path.is_file():
                content = path.read_bytes() if status.st_size < 1 << 26 else (status.st_size, status.st_mtime_ns)
            if name != ".lock":
                found[str(path.relative_to(folder))] = content
    return found


def differences(before: dict, after: dict) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
