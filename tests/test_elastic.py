"""Elastic Horovod with real processes: killed, added and removed, the run gives the bits that nobody disturbed."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from jobs import HOROVOD, finish, job, start, summary_of
from small_runs import CALL, on, write_digits

pytestmark = [pytest.mark.distributed, pytest.mark.horovod, pytest.mark.slow, HOROVOD]

PLUGIN = '''
import time
from pathlib import Path
from vaeflow import Component, hookimpl
from vaeflow.callbacks import Callback

def slow(*, until: str) -> Callback:
    """Wait after each chunk until a file is there."""
    class Slow(Callback):
        def on_chunk(self, run, step):
            time.sleep(0.0 if Path(until).exists() else 0.2)
    return Slow()

@hookimpl
def vaeflow_components():
    yield Component("callback", "slow", slow)
'''
SETTINGS = (
    *("microbatches=12", "batch_size=24", "epochs=150", "optimizer=adam", "ema=0.9", "binarization=dynamic"),
    *("evaluate.every_epochs=50", "log.every_steps=50", "encoder.hidden=[32]", "decoder.hidden=[32]"),
)


class ElasticJob:
    """A job of horovodrun whose hosts are lines of a file."""

    def __init__(self, folder: Path, hosts: tuple[str, ...], *arguments: object, least: int = 1) -> None:
        self.mark, self.hosts, self.out = str(arguments[-1]), folder / "hosts", folder / "out"
        self.set_hosts(*hosts)
        script = folder / "discover.sh"
        script.write_text(f"#!/bin/sh\ncat {self.hosts}\n")
        script.chmod(0o755)
        elastic = ["--min-np", str(least), "--max-np", "4", "--host-discovery-script", str(script)]
        options = ["-np", str(len(hosts)), *elastic, "--blacklist-cooldown-range", "2", "4"]
        horovodrun = [str(Path(sys.executable).parent / "horovodrun"), *options, "--network-interfaces", "lo"]
        program = [sys.executable, "-c", CALL, *map(str, arguments), "strategy=horovod"]
        shell = ["sh", "-c", f'exec "$@" > {self.out} 2>&1', "sh"]
        self.process = start([*shell, *horovodrun, *program])

    def set_hosts(self, *hosts: str) -> None:
        """Have these hosts from now on; the launcher looks every second."""
        self.hosts.with_suffix(".new").write_text("".join(f"{host}\n" for host in hosts))
        self.hosts.with_suffix(".new").rename(self.hosts)

    def wait_for(self, text: str, *, after: int = 0, seconds: float = 90) -> int:
        """Return the place in the output after a text that comes after a place."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            output = self.out.read_text() if self.out.exists() else ""
            place = output.find(text, after)
            if place >= 0:
                return place + len(text)
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        pytest.fail(f"no {text!r} in\n{output[after:]}")

    def workers(self, first_rank: int | None = None) -> list[int]:
        """Return the numbers of the workers' processes, of those that began with a rank if it is given."""
        began = b"HOROVOD_RANK=" if first_rank is None else f"HOROVOD_RANK={first_rank}\0".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                arguments = (path / "cmdline").read_bytes().split(b"\0")
                ours = self.mark.encode() in arguments and arguments[1:2] == [b"-c"]
                if ours and began in (path / "environ").read_bytes():
                    found.append(int(path.name))
        return found


@pytest.fixture
def settings(tmp_path, mnist_content):
    data = write_digits(tmp_path / "digits.npz", mnist_content, train=500)
    (tmp_path / "slow_plugin.py").write_text(PLUGIN)
    slow = f"callbacks=[{{name='slow', until='{tmp_path / 'hurry'}'}}]"
    return (*on(data, *SETTINGS), slow, "--plugin", tmp_path / "slow_plugin.py")


def test_grows_and_shrinks_with_the_bits_of_the_run_that_nobody_disturbed(tmp_path, settings):
    """2 -> 1 (the chief is killed) -> 2 (its host comes back) -> 3 (a slot more) -> 2 (a host less)."""
    run = tmp_path / "run"
    elastic = ElasticJob(tmp_path, ("localhost:1", "127.0.0.1:1"), "train", "mnist-2d", *settings, "--run-dir", run)
    try:
        place = elastic.wait_for("all 2 replicas hold the same state")
        (chief,) = elastic.workers(0)
        os.kill(chief, signal.SIGKILL)
        place = elastic.wait_for("rank 0 (host", after=place, seconds=15)
        place = elastic.wait_for("died", after=place, seconds=1)
        place = elastic.wait_for("1 replica from here on", after=place, seconds=15)
        place = elastic.wait_for("2 replicas from here on", after=place)
        place = elastic.wait_for("all 2 replicas hold the same state", after=place)
        elastic.set_hosts("localhost:1", "127.0.0.1:2")
        place = elastic.wait_for("all 3 replicas hold the same state", after=place)
        elastic.set_hosts("127.0.0.1:2")
        place = elastic.wait_for("all 2 replicas hold the same state", after=place)
        (tmp_path / "hurry").touch()
        assert elastic.process.wait(120) == 0, elastic.out.read_text()
    finally:
        elastic.process.terminate()
        finish([elastic.process])
    assert elastic.workers() == []
    undisturbed = tmp_path / "undisturbed"
    assert job("single", 1, "train", "mnist-2d", *settings, "--run-dir", undisturbed).codes == [0]
    there, here = summary_of(run), summary_of(undisturbed)
    assert there["state_sha256"] == here["state_sha256"]
    assert there["metrics"] == here["metrics"]
    assert (run / "metrics.jsonl").read_text().count("\n") == (undisturbed / "metrics.jsonl").read_text().count("\n")
    assert not list(run.rglob("*.partial"))
