"""A launcher that starts a job again: a rank is killed, and the run ends with the bits that nobody disturbed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from helpers.paths import ROOT
from helpers.small_runs import command_line, on, summary, vaeflow, write_digits

SCRIPT = ROOT / "launch" / "local.sh"
EVERY = ("evaluate.every_epochs=100", "log.every_steps=50", "checkpoint.every_steps=50")
SETTINGS = ("microbatches=4", "steps=400", *EVERY)


def rank_1(run_dir: Path) -> int:
    """Return the process of rank 1 of a multiworker job."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environ, arguments = (path / "environ").read_bytes(), (path / "cmdline").read_bytes()
            if str(run_dir).encode() in arguments and b'"index": 1}' in environ and b"local.sh" not in arguments:
                return int(path.name)
    raise LookupError("rank 1 does not run")


@pytest.mark.slow
@pytest.mark.distributed
def test_local_starts_again_after_a_kill(tmp_path, mnist_content):
    data, run_dir = write_digits(tmp_path / "digits.npz", mnist_content), tmp_path / "run"
    arguments = ["mnist-2d", *on(data, *SETTINGS)]
    call = [SCRIPT, "--strategy", "multiworker", "--restarts", "1", *arguments, "--run-dir", run_dir]
    environ = {**os.environ, "VAEFLOW": " ".join(command_line())}
    with subprocess.Popen(list(map(str, call)), env=environ, stderr=subprocess.PIPE, text=True) as job:
        while len(list(run_dir.glob("checkpoints/step-*"))) < 2:
            assert job.poll() is None
            time.sleep(0.05)
        os.kill(rank_1(run_dir), signal.SIGKILL)
        _, errors = job.communicate(timeout=240)
    assert job.returncode == 0, errors
    assert errors.count("all are restarted from the newest checkpoint (1 of 1)") == 1
    undisturbed = vaeflow("train", *arguments, "--run-dir", tmp_path / "undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    assert summary(run_dir)["state_sha256"] == summary(tmp_path / "undisturbed")["state_sha256"]
