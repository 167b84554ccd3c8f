"""Elastic Horovod with real processes: killed, added and removed, the run gives the bits that nobody disturbed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest
from helpers.fork_server import server, worker_of
from helpers.jobs import HOROVOD, finish, job, start, summary_of
from helpers.paths import ROOT
from helpers.small_runs import command_line, on, write_digits

pytestmark = [pytest.mark.distributed, pytest.mark.horovod, pytest.mark.slow, HOROVOD]

SCRIPT = ROOT / "launch" / "elastic.sh"
PLUGIN = '''
import time
from pathlib import Path
from vaeflow import Component, hookimpl
from vaeflow.callbacks import Callback

def slow(*, until: str) -> Callback:
    """Wait after each execution of steps until a file exists; write into another file that it was done."""
    class Slow(Callback):
        def on_steps(self, run, step):
            Path(until).with_name("taken").write_text(str(step))
            time.sleep(0.0 if Path(until).exists() else 0.7)
    return Slow()

@hookimpl
def vaeflow_components():
    yield Component("callback", "slow", slow)
'''
SETTINGS = (
    *("microbatches=12", "batch_size=24", "epochs=16", "optimizer=adam", "ema=0.9", "binarization=dynamic"),
    *("evaluate.every_epochs=8", "log.every_steps=50", "encoder.hidden=[32]", "decoder.hidden=[32]"),
)


class ElasticJob:
    """A training by launch/elastic.sh whose hosts are lines of a file. Nothing of it outlives the context."""

    def __init__(self, folder: Path, hosts: tuple[str, ...], *arguments: object) -> None:
        self.run, self.hosts, self.out, self.place = folder / "run", folder / "hosts", folder / "out", 0
        self.set_hosts(*hosts)
        variables = {
            "HOSTS_FILE": str(self.hosts),
            "RUN_DIR": str(folder / "run"),
            "VAEFLOW": " ".join(command_line()),
            "START": str(len(hosts)),
            "MOST": "3",
            "COOLDOWN": "2 4",
            "INTERFACE": "lo",
            "PATH": f"{server().programs}:{os.environ['PATH']}",  # horovodrun
        }
        shell = ["sh", "-c", f'exec "$@" > {self.out} 2>&1', "sh", str(SCRIPT), "mnist-2d"]
        self.process = start([*shell, *map(str, arguments)], **variables)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        for number in self.workers():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        finish([self.process])

    def set_hosts(self, *hosts: str) -> None:
        """Have these hosts from now on; the launcher looks every second."""
        self.hosts.with_suffix(".new").write_text("".join(f"{host}\n" for host in hosts))
        self.hosts.with_suffix(".new").rename(self.hosts)

    def output(self) -> str:
        """Return what the job has printed."""
        return self.out.read_text() if self.out.exists() else ""

    def wait_for(self, text: str, *, seconds: float = 90) -> None:
        """Wait until a text comes after the one that was waited for before."""
        deadline = time.monotonic() + seconds
        while (found := self.output().find(text, self.place)) < 0:
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"no {text!r} in\n{self.output()[self.place :]}")
            time.sleep(0.1)
        self.place = found + len(text)

    def signal(self, number: signal.Signals, *, first_rank: int) -> None:
        """Send a signal to the worker that began with a rank."""
        (worker,) = self.workers(first_rank)
        os.kill(worker, number)

    def workers(self, first_rank: int | None = None) -> list[int]:
        """Return the numbers of the workers' processes, of those that began with a rank if it is given."""
        began = b"HOROVOD_RANK=" if first_rank is None else f"HOROVOD_RANK={first_rank}\0".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                arguments = (path / "cmdline").read_bytes().split(b"\0")
                ours = str(self.run).encode() in arguments and b"vaeflow" in arguments
                if ours and began in (path / "environ").read_bytes():
                    found.append(worker_of(int(path.name)))
        return found


def wait_for_steps(hurry: Path) -> None:
    """Wait until two more chunks of steps have been taken: the second is not being traced."""
    taken, deadline = hurry.with_name("taken"), time.monotonic() + 90
    for _ in range(2):
        before = taken.stat().st_mtime_ns
        while taken.stat().st_mtime_ns == before:
            assert time.monotonic() < deadline, "no step was taken in 90 s"
            time.sleep(0.05)


@pytest.fixture(scope="module")
def hurry(tmp_path_factory):
    """The file that ends the waiting."""
    return tmp_path_factory.mktemp("hurry") / "now"


@pytest.fixture(scope="module")
def settings(tmp_path_factory, mnist_content, hurry):
    folder = tmp_path_factory.mktemp("digits")
    data = write_digits(folder / "digits.npz", mnist_content, train=500)
    (folder / "slow_plugin.py").write_text(PLUGIN)
    slow = f"callbacks=[{{name='slow', until='{hurry}'}}]"
    return (*on(data, *SETTINGS), slow, "--plugin", folder / "slow_plugin.py")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, settings, hurry):
    """A run on one device."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    hurry.touch()
    assert job("single", 1, "train", "mnist-2d", *settings, "--run-dir", run).codes == [0]
    hurry.unlink()
    return run


def test_elastic_run_has_the_bits_of_an_undisturbed_one(tmp_path, settings, hurry, undisturbed):
    """2 -> 1 (the chief is killed) -> 2 (its host comes back) -> 3 (a slot more) -> 2 (a host less)."""
    run = tmp_path / "run"
    with ElasticJob(tmp_path, ("localhost:1", "127.0.0.1:1"), *settings) as elastic:
        elastic.wait_for("all 2 replicas have the same state")
        elastic.signal(signal.SIGKILL, first_rank=0)
        elastic.wait_for("1 replica from now on", seconds=15)
        elastic.wait_for("2 replicas from now on")
        elastic.wait_for("all 2 replicas have the same state")
        elastic.set_hosts("localhost:1", "127.0.0.1:2")
        elastic.wait_for("all 3 replicas have the same state")
        elastic.set_hosts("127.0.0.1:2")
        elastic.wait_for("all 2 replicas have the same state")
        hurry.touch()
        assert elastic.process.wait(120) == 0, elastic.output()
    hurry.unlink()
    assert re.search(r"rank 0 \(host .*\) died", elastic.output())
    assert elastic.workers() == []
    there, here = summary_of(run), summary_of(undisturbed)
    assert there["state_sha256"] == here["state_sha256"]
    assert there["metrics"] == here["metrics"]
    assert (run / "metrics.jsonl").read_text().count("\n") == (undisturbed / "metrics.jsonl").read_text().count("\n")
    assert not list(run.rglob("*.partial"))


def test_one_rank_hangs_one_leaves_and_all_stop(tmp_path, settings, hurry, undisturbed):
    """2 -> 1 (SIGSTOP) -> 2 -> 1 (SIGTERM at the chief) -> stopped by SIGTERM at the launcher, and resumed."""
    run = tmp_path / "run"
    with ElasticJob(tmp_path, ("localhost:1", "127.0.0.1:1"), *settings) as elastic:
        elastic.wait_for("all 2 replicas have the same state")
        elastic.signal(signal.SIGSTOP, first_rank=1)
        elastic.wait_for("sent no heartbeat for 10 s", seconds=20)
        elastic.wait_for("2 replicas from now on")
        elastic.wait_for("all 2 replicas have the same state")
        elastic.signal(signal.SIGTERM, first_rank=0)
        elastic.wait_for("SIGTERM at rank 0", seconds=20)
        elastic.wait_for("from now on")
        wait_for_steps(hurry)  # while a step is traced no signal is received, and horovodrun gives 5 s to save
        elastic.process.terminate()
        assert elastic.process.wait(60) == 75
    assert "left the job" in elastic.output()
    assert "the state is saved" in elastic.output()
    assert elastic.workers() == []
    hurry.touch()
    assert job("single", 1, "resume", run, *settings[-2:]).codes == [0]
    hurry.unlink()
    assert summary_of(run)["state_sha256"] == summary_of(undisturbed)["state_sha256"]
