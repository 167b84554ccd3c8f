"""What a person sees while a run trains and when it has ended: the bar on a terminal, and the last three lines."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
from helpers.small_runs import command_line, on, summary, tree, vaeflow, write_digits

pytestmark = pytest.mark.slow
PLUGIN = '''
from vaeflow import Component, hookimpl
from vaeflow.callbacks import Callback


class Late(Callback):
    """Takes its time at the end."""


@hookimpl
def vaeflow_components():
    yield Component("callback", "late", Late)
'''


def on_a_terminal(*arguments: object, columns: int = 110) -> list[str]:
    """Run a command on a pseudo-terminal and return what it drew, a text for each time a line was begun."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(command_line(*arguments), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    drawn = b""
    while True:
        try:
            read = os.read(ours, 1 << 16)
        except OSError:  # Linux's end of a pseudo-terminal
            break
        if not read:
            break
        drawn += read
    os.close(ours)
    assert process.wait() == 0, drawn.decode()
    return [text.strip() for text in re.split(r"[\r\n]", drawn.decode()) if text.strip()]


@pytest.fixture(scope="module")
def shown(tmp_path_factory, mnist_content):
    """A folder, and what a run in it drew, with log entries at its end only and a plugin that is not installed."""
    folder = tmp_path_factory.mktemp("shown")
    data = write_digits(folder / "digits.npz", mnist_content)
    (folder / "late.py").write_text(PLUGIN)
    settings = on(data, "log.every_steps=1000", "log.tensorboard=true", "plots.draw=['curves']", "callbacks=['late']")
    place = ("--plugin", folder / "late.py", "--run-dir", folder / "a run")
    return folder, on_a_terminal("train", "mnist-2d", *settings, *place)


def test_the_bar_has_figures_before_the_first_log_entry(shown):
    first = next(text for text in shown[1] if "ELBO" in text)
    assert re.fullmatch(r"mnist-2d epoch 1/2: .+\| ELBO -\d+\.\d\d, KL \d+\.\d\d, \d+ images/s", first)


def test_what_takes_long_has_a_name_in_the_bar(shown):
    named = [text.partition(":")[0].partition(", ")[2] for text in shown[1] if text.startswith("mnist-2d epoch 2/2")]
    order = ["evaluating", "saving", "drawing plots", "writing TensorBoard's files"]
    last = [len(named) - named[::-1].index(one) for one in order]
    assert last == sorted(last)
    assert "callback late" in named
    assert named[-1] == ""


def test_the_last_three_lines_are_results_place_and_commands(shown):
    folder, drawn = shown
    metrics, run = summary(folder / "a run")["metrics"], folder / "a run"
    values = [metrics[f"test/{name}"] for name in ("elbo", "log_likelihood", "kl")]
    nats = "test ELBO {:.2f} = log-likelihood {:.2f} - KL {:.2f} nats per example".format(*values)
    assert re.fullmatch(rf"mnist-2d: {re.escape(nats)}, 16 steps in \d+\.\d s", drawn[-3])
    assert drawn[-2] == f"{run}: summary.json, metrics.jsonl, plots/ (curves), tensorboard/, checkpoints/"
    assert all((run / name).exists() for name in ("summary.json", "metrics.jsonl", "tensorboard", "checkpoints"))


def commands_of(line: str) -> list[str]:
    """Return the commands of a last line."""
    assert line.startswith("next: ")
    return line.removeprefix("next: ").split("   or   ")


def test_the_commands_work_as_they_are_copied(shown):
    """Where they were printed. TensorBoard's would serve until it is stopped; `--inspect` reads the same logs."""
    folder, drawn = shown
    plot, board, evaluate = commands_of(drawn[-1])
    done = subprocess.run(f"{board} --inspect", shell=True, capture_output=True, text=True)
    assert "ELBO/test" in done.stdout, done.stderr
    for command in (plot, evaluate):
        found, *arguments = shlex.split(command)
        assert shutil.which(found)
        assert vaeflow(*arguments).returncode == 0
    assert (folder / "a run" / "evaluation-test.json").exists()
    assert shlex.split(evaluate)[1:5] == ["evaluate", str(folder / "a run"), "--samples", "100"]


def test_a_finished_run_says_them_again_and_no_bar(shown):
    folder, drawn = shown
    before = tree(folder / "a run")
    done = vaeflow("resume", folder / "a run", "--plugin", folder / "late.py")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{folder / 'a run'}: already finished at step 16 of 16")
    assert [line.partition(" in ")[0] for line in lines[1:]] == [line.partition(" in ")[0] for line in drawn[-3:]]
    assert done.stderr == ""
    assert tree(folder / "a run") == before


def test_without_a_test_split_the_lines_say_so(tmp_path, mnist_content):
    data = write_digits(tmp_path / "digits.npz", mnist_content, test=0)
    done = vaeflow("train", "mnist-2d", *on(data, "epochs=1"), "--run-dir", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    nats, place, line = done.stdout.splitlines()[-3:]
    assert re.match(r"mnist-2d: ELBO -.+ of the last training steps \(the data have no test split\), 8 steps in ", nats)
    assert place == "run: summary.json, metrics.jsonl, checkpoints/"
    assert [command.partition("vaeflow ")[2] for command in commands_of(line)] == [
        "plot run",
        "evaluate run --samples 100 --split train",
    ]
    assert "%|" not in done.stdout + done.stderr


def test_programs_are_found_without_an_activated_environment(monkeypatch, tmp_path):
    from vaeflow.training.outcome import program

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    assert program("vaeflow", "vaeflow") == ["venv/bin/python", "-m", "vaeflow"]
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "vaeflow").touch()
    assert program("vaeflow", "vaeflow") == [str(Path("venv/bin/vaeflow"))]
    (tmp_path / "vaeflow").touch(mode=0o755)
    assert program("vaeflow", "vaeflow") == ["vaeflow"]
