"""A disk that refuses, at every stage of a save: what was saved is whole, training continues, and nothing is lost."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from textwrap import dedent

import numpy as np
import pytest
from helpers import disks
from helpers.small_runs import on, summary, train, vaeflow, write_digits

from vaeflow.cli import main
from vaeflow.errors import UnsavedError
from vaeflow.training.checkpoints.background import BackgroundSaves
from vaeflow.training.checkpoints.folder import CheckpointFolder, Progress

STATE = {"model/000/kernel": np.arange(3000, dtype=np.float32), "optimizer/000/slot": np.int64(5)}  # three pages
STAGES = ["the directory", "the arrays", "progress.json", "config.toml", "the manifest"]
SETTINGS = ("steps=12", "checkpoint.every_steps=3", "optimizer=adam", "ema=0.9")


@pytest.fixture(scope="module")
def digits(tmp_path_factory, mnist_content):
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, digits):
    return summary(train(tmp_path_factory.mktemp("undisturbed") / "run", digits, *SETTINGS))["state_sha256"]


class Saving:
    """A run's saves on a disk that has taken one."""

    def __init__(self, disk):
        self.said, self.folder = [], disk / "checkpoints"
        self.checkpoints = CheckpointFolder(
            self.folder, keep=3, say=self.said.append, texts={"config.toml": "seed = 1\n"}
        )
        self.saves = BackgroundSaves(self.checkpoints, self.said.append)
        assert self.save(1) == 1

    def save(self, step):
        self.saves.save(STATE, Progress(step))
        return self.saves.committed(wait=True)

    def assert_refused(self, reason):
        """Save step 2 in vain: it is said, and step 1 is whole and alone."""
        assert self.save(2) is None
        (line,) = self.said
        assert line.startswith("warning: step 2 could not be saved: ")
        assert re.search(f"({reason})[.] Earlier checkpoints are valid, and training continues$", line), line
        with pytest.raises(UnsavedError, match="Remove the cause, such as a full disk; `vaeflow resume` then repeats"):
            self.saves.require_saved()
        assert os.listdir(self.folder) == ["step-000000001"]  # noqa: PTH208
        assert self.checkpoints.latest()[1].step == 1
        return line

    def assert_goes_on(self):
        """Save step 3 once there is room."""
        assert self.save(3) == 3
        self.saves.require_saved()
        assert self.checkpoints.latest()[1].step == 3
        assert not list(self.folder.glob(".*"))
        self.saves.close()


def assert_names(stage, line):
    """Check that the line names the file that could not be written."""
    names = {"the directory": ".partial", "the arrays": "state.safetensors", "the manifest": "manifest.json"}
    assert names.get(stage, stage) in line, line


@pytest.mark.parametrize("stage", STAGES)
def test_no_file_more(stage, tmp_path):
    """As many files can be made as come before a stage: a directory is one, too."""
    with disks.mounted(tmp_path / "disk", "size=4m,nr_inodes=40") as disk:
        saving = Saving(disk)
        disks.leave_files(disk, STAGES.index(stage))
        assert_names(stage, saving.assert_refused("No space left on device"))
        disks.make_room(disk)
        saving.assert_goes_on()


@pytest.mark.parametrize("stage", STAGES[1:])
def test_no_byte_more(stage, tmp_path):
    """A directory takes no page of such a disk, the arrays three or four, and each file after it one."""
    with disks.mounted(tmp_path / "disk", "size=1m") as disk:
        saving = Saving(disk)
        arrays = -(-next(saving.folder.rglob("state.safetensors")).stat().st_size // disks.PAGE)
        disks.leave_pages(disk, 1 if stage == "the arrays" else arrays + STAGES.index(stage) - 2)
        assert_names(stage, saving.assert_refused("No space left on device"))
        disks.make_room(disk)
        saving.assert_goes_on()


def test_a_disk_that_has_less_than_it_promised(tmp_path):
    """Every write succeeds, and then the sync does not."""
    with disks.on_an_image(tmp_path / "disk", "-O", "^has_journal") as (disk, below):
        saving = Saving(disk)
        disks.fill(below)
        saving.assert_refused("No space left on device|Input/output error")
        disks.make_room(below)
        saving.assert_goes_on()


# Whole runs

HARM = """
    import subprocess
    from vaeflow import Component, hookimpl
    from vaeflow.callbacks import Callback
    class Harm(Callback):
        def __init__(self, command):
            self._command = command
        def on_checkpoint(self, run, step):
            if step == 3 and run.first_step == 0:
                subprocess.run(self._command, shell=True, check=True)
    def harm(*, command: str):
        return Harm(command)
    @hookimpl
    def vaeflow_components():
        yield Component("callback", "harm", harm)
"""


class Harmed:
    """A run whose disk is harmed by a shell's command once the checkpoint of step 3 is on it."""

    def __init__(self, tmp_path, digits, run, command, *settings):
        self.run, self.plugin = run, tmp_path / "harm.py"
        self.plugin.write_text(dedent(HARM))
        self.settings = [*on(digits, *SETTINGS, *settings), f"callbacks=[{{name='harm', command='{command}'}}]"]

    def train(self):
        """Train in this process; return the exit code."""
        command = ["train", "mnist-2d", "--plugin", self.plugin, "--run-dir", self.run, *self.settings]
        return main([str(part) for part in command])

    def resume(self):
        """Go on in this process; return the exit code."""
        return main(["resume", str(self.run), "--plugin", str(self.plugin)])

    def assert_unsaved(self, out, err, reason):
        """Check what was said of a run that trained to its end and could not save it."""
        for step in (6, 9, 12):
            assert re.search(
                rf"warning: step {step} could not be saved: .*[:;] {reason}[.] Earlier checkpoints", out
            ), out
        (line,) = err.splitlines()
        expected = rf"vaeflow: step 12 could not be saved: .*[:;] {reason}[.] Remove the cause, such as a full disk; .*"
        assert re.fullmatch(expected, line), line

    def assert_left(self, steps):
        """Check which checkpoints there are, and nothing half-written."""
        assert sorted(os.listdir(self.run / "checkpoints")) == [f"step-{step:09d}" for step in steps]  # noqa: PTH208
        assert not list(self.run.rglob("*.partial"))

    def assert_goes_on(self, capfd, undisturbed):
        """Go on to the end of the run that nobody disturbed."""
        assert self.resume() == 0
        assert "resuming from step 3 of 12" in capfd.readouterr().out
        assert summary(self.run)["state_sha256"] == undisturbed


def test_a_run_whose_disk_is_full(tmp_path, digits, undisturbed):
    """By the real command."""
    with disks.mounted(tmp_path / "disk", "size=4m") as disk:
        harmed = Harmed(tmp_path, digits, disk / "run", f"dd if=/dev/zero of={disk}/filler bs=4k || true")
        arguments = ["train", "mnist-2d", "--plugin", harmed.plugin, "--run-dir", harmed.run, *harmed.settings]
        done = vaeflow(*arguments)
        assert done.returncode == 74, done.stderr
        harmed.assert_unsaved(done.stdout, done.stderr.splitlines()[-1], "No space left on device")
        harmed.assert_left([0, 3])
        disks.make_room(disk)
        done = vaeflow("resume", harmed.run, "--plugin", harmed.plugin)
        assert (done.returncode, done.stderr) == (0, "")
        assert "resuming from step 3 of 12" in done.stdout
        assert summary(harmed.run)["state_sha256"] == undisturbed


def test_a_run_whose_disk_becomes_read_only(tmp_path, digits, undisturbed, capfd):
    """As by an error of the disk."""
    with disks.on_an_image(tmp_path / "disk") as (disk, below):
        harmed = Harmed(tmp_path, digits, disk / "run", f"sync -f {disk} && mount -o remount,abort {disk}")
        assert harmed.train() == 74
        harmed.assert_unsaved(*capfd.readouterr(), "Read-only file system")
        harmed.assert_left([0, 3])
        disks.mount_again(below, disk)
        harmed.assert_goes_on(capfd, undisturbed)


def test_a_run_whose_checkpoints_become_read_only(tmp_path, digits, undisturbed, capfd):
    with disks.mounted(tmp_path / "disk", "size=4m") as disk:
        folder = disk / "run" / "checkpoints"
        harmed = Harmed(tmp_path, digits, disk / "run", f"chattr +i {folder}")
        assert harmed.train() == 74
        harmed.assert_unsaved(*capfd.readouterr(), "Operation not permitted")
        harmed.assert_left([0, 3])
        subprocess.run(["chattr", "-i", folder], check=True)
        harmed.assert_goes_on(capfd, undisturbed)


def test_a_run_whose_directory_is_moved_away(tmp_path, digits, undisturbed, capfd):
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    harmed = Harmed(tmp_path, digits, run, f"mv {run} {elsewhere}", "plots.every_epochs=1", "plots.draw=['samples']")
    assert harmed.train() == 74
    harmed.assert_unsaved(*capfd.readouterr(), "No such file or directory")
    assert [path.name for path in run.iterdir()] == ["plots"]
    shutil.rmtree(run)
    elsewhere.rename(run)
    harmed.assert_left([0, 3])
    harmed.assert_goes_on(capfd, undisturbed)


def test_a_run_whose_disk_is_unmounted(tmp_path, digits, undisturbed, capfd):
    (disk := tmp_path / "disk").mkdir()
    with disks.mounted(tmp_path / "below", "size=4m") as below:
        subprocess.run(["mount", "--bind", below, disk], check=True)
        harmed = Harmed(tmp_path, digits, disk / "run", f"umount --lazy {disk}")
        assert harmed.train() == 74
        harmed.assert_unsaved(*capfd.readouterr(), "No such file or directory")
        assert not list(disk.iterdir())
        harmed.run = below / "run"
        harmed.assert_left([0, 3])
        harmed.assert_goes_on(capfd, undisturbed)
