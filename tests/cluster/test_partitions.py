"""A cable that is cut in the middle of training: both sides end, and say which rank on which host was lost, and why.

`python -m pytest tests/cluster/test_partitions.py --cluster -rP` prints the seconds.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time

import pytest
import small_runs
from machines import CARD, NETWORK, ROOT, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.distributed]
LONG = ("batch_size=8", "microbatches=4", "steps=2000", "log.every_steps=50", "checkpoint.every_steps=10")
SECONDS = 15  # in which both sides have ended
PORT = 20700
NOBODY = "02:00:00:00:00:99"


@pytest.fixture(scope="module")
def arguments(tmp_path_factory, mnist_content):
    data = small_runs.write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content)
    return ("mnist-2d", *small_runs.on(data, *LONG))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, arguments):
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    assert small_runs.vaeflow("train", *arguments, "--run-dir", run).returncode == 0
    return small_runs.summary(run)["state_sha256"]


@contextlib.contextmanager
def link_down(hosts):
    """Pull the cable out of the first machine: both sides lose their carrier."""
    hosts[0].run("ip", "link", "set", CARD, "down")
    try:
        yield
    finally:
        hosts[0].run("ip", "link", "set", CARD, "up")


@contextlib.contextmanager
def packets_dropped(hosts):
    """Send each machine's packets to a card that is nobody's: they vanish without a word."""
    others = [f"{NETWORK}.2", f"{NETWORK}.1"]
    for host, other in zip(hosts, others, strict=True):
        host.run("ip", "neigh", "replace", other, "lladdr", NOBODY, "dev", CARD, "nud", "permanent")
    try:
        yield
    finally:
        for host, other in zip(hosts, others, strict=True):
            host.run("ip", "neigh", "del", other, "dev", CARD)


class Output:
    """What a process prints, line by line with the time."""

    def __init__(self, process):
        self.process, self.lines = process, []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with self.process.stdout as stdout:
            for line in stdout:
                self.lines.append((time.monotonic(), line))

    def end(self):
        """Wait for the process; return its exit code."""
        code = self.process.wait(60)
        self._reader.join()
        return code

    def find(self, pattern):
        """Return when a line came that has a pattern, and the line."""
        return next(((at, line) for at, line in self.lines if re.search(pattern, line)), (None, self.lines))


def start_multiworker(hosts, command):
    """Start a rank on each machine."""
    workers = [f"{NETWORK}.{number}:{PORT}" for number in (1, 2)]
    for rank, host in enumerate(hosts):
        place = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}})
        process = host.popen("vaeflow", *command, "--strategy=multiworker", env={"TF_CONFIG": place}, **PIPES)
        yield Output(process)


def start_horovod(hosts, command):
    """Start the launcher on the first machine; ranks write files of their own, which a cut cable does not cut off."""
    variables = {"HOSTS": "h1:1,h2:1", "HOROVODRUN_OPTIONS": f"--gloo --output-filename {command[-1]}-out"}
    yield Output(hosts[0].popen(str(ROOT / "launch" / "horovodrun.sh"), *command[1:], env=variables, **PIPES))


PIPES = {"stdout": -1, "stderr": -2, "text": True}


def training(host):
    """Return whether ranks run on a machine."""
    return any("from vaeflow.cli" in line and "horovodrun" not in line for line in host.programs().values())


def trains(run):
    return len(list(run.glob("checkpoints/step-*[1-9]*"))) > 0


@pytest.mark.parametrize("cut", [link_down, packets_dropped], ids=["link down", "packets dropped"])
@pytest.mark.parametrize(
    "start",
    [
        pytest.param(start_multiworker, id="multiworker"),
        pytest.param(start_horovod, id="horovod", marks=pytest.mark.horovod),
    ],
)
def test_both_sides_of_a_partition_end(start, cut, hosts, arguments, undisturbed, tmp_path):
    run = tmp_path / "run"
    outputs = list(start(hosts, ("train", *arguments, "--run-dir", str(run))))
    wait_until(lambda: trains(run), "not training", seconds=200)
    with cut(hosts):
        since = time.monotonic()
        ended = [None, None]
        while None in ended and time.monotonic() < since + 60:
            for rank, host in enumerate(hosts):
                if ended[rank] is None and not training(host):
                    ended[rank] = time.monotonic() - since
            time.sleep(0.05)
        codes = [output.end() for output in outputs]
        launcher_ended = time.monotonic() - since
    print(f"seconds until the ranks had ended: {ended}, all: {launcher_ended:.1f}; exit codes: {codes}")
    for rank, output in enumerate(outputs):
        for at, line in output.lines:
            if at > since:
                print(f"{rank}: {at - since:.1f} s: {line.rstrip()}")
    for path in tmp_path.glob("run-out/*/*/*"):
        print(path.parent.name, path.read_text())
    assert all(seconds < SECONDS for seconds in ended)
    assert not list(run.rglob("*.partial"))
    assert small_runs.vaeflow("resume", run, "strategy=single").returncode == 0
    assert small_runs.summary(run)["state_sha256"] == undisturbed
