"""Real processes, killed and moved: what comes out is what an undisturbed run on one device gives.

`VAEFLOW_KILLS=100 python -m pytest tests/integration/test_faults.py` is the long form, `make test-faults`.
"""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import time

import pytest
from helpers.jobs import HOROVOD, begin, finish, job, process_of_rank, summary_of
from helpers.small_runs import on, vaeflow, write_digits
from helpers.tiers import few

KILLS = int(os.environ.get("VAEFLOW_KILLS", "0"))
NUMBERS = range(KILLS) if KILLS else few(range(8))
SETTINGS = ("microbatches=12", "batch_size=24", "epochs=10", "log.every_steps=50", "checkpoint.every_steps=25")
SIZE = ("encoder.hidden=[300]", "decoder.hidden=[300]", "optimizer=adam", "ema=0.9", "binarization=dynamic")
STEPS = 10 * 21  # of 500 digits
HAVE_HOROVOD = importlib.util.find_spec("horovod") is not None
STARTED = [("single", 1), *([("horovod", 2)] if HAVE_HOROVOD else [])]
RESUMED = [*STARTED, ("mirrored", 2), ("multiworker", 2), *([("horovod", 3)] if HAVE_HOROVOD else [])]
pytestmark = [pytest.mark.slow, pytest.mark.distributed]


@pytest.fixture(scope="module")
def settings(tmp_path_factory, mnist_content):
    data = write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content, train=500)
    return on(data, *SETTINGS, *SIZE)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, settings):
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    done = vaeflow("train", "mnist-2d", "--run-dir", run, *settings)
    assert done.returncode == 0, done.stderr
    return summary_of(run)["state_sha256"]


def newest(run):
    return max((int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*")), default=-1)


def wait_for(condition, processes):
    """Wait until something is so, or until the job has ended."""
    until = time.monotonic() + 200
    while not condition() and all(process.poll() is None for process in processes):
        assert time.monotonic() < until
        time.sleep(0.001)


def assert_undisturbed(run, undisturbed):
    assert summary_of(run)["state_sha256"] == undisturbed
    assert not list(run.rglob("*.partial"))


@pytest.mark.parametrize("number", NUMBERS)
def test_killed_at_a_random_moment(tmp_path, settings, undisturbed, number):
    """By turns at any moment and in the middle of a save; then on a topology drawn at random to the end."""
    drawn, run = random.Random(number), tmp_path / "run"
    (kind, count), (other, replicas) = STARTED[number // 2 % len(STARTED)], drawn.choice(RESUMED)
    processes = begin(kind, count, "train", "mnist-2d", "--run-dir", run, *settings)
    if number % 2:
        wait_for(lambda: newest(run) >= drawn.randrange(8) * 25 and list(run.glob("checkpoints/.*.partial")), processes)
    else:
        wait_for(lambda: newest(run) >= 0, processes)
        time.sleep(drawn.uniform(0.0, 5.0))
    if all(process.poll() is None for process in processes):
        os.kill(process_of_rank(kind, drawn.randrange(count), processes, run), signal.SIGKILL)
    finish(processes)
    finished = job(other, replicas, "resume", run)
    assert set(finished.codes) == {0}, finished.outputs
    assert_undisturbed(run, undisturbed)


@pytest.mark.horovod
@HOROVOD
def test_killed_moved_and_stopped_in_the_middle_of_an_epoch(tmp_path, settings, undisturbed):
    """Horovod, a rank of which is killed at a random moment, then replicas, which are told to stop, then one device."""
    drawn, run = random.Random(0), tmp_path / "run"
    for kind, count, number, command in (
        ("horovod", 3, signal.SIGKILL, ["train", "mnist-2d", "--run-dir", run, *settings]),
        ("mirrored", 2, signal.SIGTERM, ["resume", run]),
    ):
        before = newest(run)
        processes = begin(kind, count, *command)
        wait_for(lambda before=before: newest(run) > max(before, 0), processes)
        time.sleep(drawn.uniform(0.0, 0.3) if number == signal.SIGKILL else 0.0)
        rank = drawn.randrange(count) if kind == "horovod" else 0
        os.kill(process_of_rank(kind, rank, processes, run), number)
        finish(processes)
        assert before < newest(run) < STEPS
    finished = job("single", 1, "resume", run)
    assert finished.codes == [0], finished.outputs
    assert_undisturbed(run, undisturbed)
