"""A cable that is cut in the middle of training: both sides end, and say which rank on which host was lost, and why.

An elastic job goes on, with those on the side of its launcher.

`python -m pytest tests/cluster/test_partitions.py --cluster -rP` prints the seconds.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers import small_runs
from helpers.machines import CARD, NETWORK, wait_until
from helpers.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.distributed]
LONG = ("batch_size=8", "microbatches=4", "steps=800", "log.every_steps=50", "checkpoint.every_steps=10")
SECONDS = 15  # in which both sides have ended
PORT = 20700
NOBODY = "02:00:00:00:00:99"
STAMPED = """#!/bin/bash
exec vaeflow "$@" 2> >(while read -r line; do echo "$(date +%s.%N) $line"; done >>{folder}/rank-$HOROVOD_RANK.err)
"""
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}


@dataclass(frozen=True)
class Undisturbed:
    """A longer run on one device: a recipe with settings, and the state's hash at its end."""

    arguments: tuple[str, ...]
    state_sha256: str


@pytest.fixture(scope="module")
def job(tmp_path_factory, mnist_content):
    folder = tmp_path_factory.mktemp("undisturbed")
    data = small_runs.write_digits(folder / "digits.npz", mnist_content)
    arguments = ("mnist-2d", *small_runs.on(data, *LONG))
    assert small_runs.vaeflow("train", *arguments, "--run-dir", folder / "run").returncode == 0
    return Undisturbed(arguments, small_runs.summary(folder / "run")["state_sha256"])


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


@contextlib.contextmanager
def stopped(hosts):
    """Stop what runs on the second machine, but not its network: its connections stay open."""
    hosts[1].run("kill", "-STOP", *map(str, ranks(hosts[1])))
    yield


class Output:
    """What a process prints, line by line with the time."""

    def __init__(self, process):
        self.process, self.lines = process, []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        with self.process.stdout as stdout:
            for line in stdout:
                self.lines.append((time.time(), line))

    def end(self):
        """Wait for the process; return its exit code."""
        code = self.process.wait(60)
        self._reader.join()
        return code


def start_multiworker(hosts, command):
    """Start a rank on each machine."""
    workers = [f"{NETWORK}.{number}:{PORT}" for number in (1, 2)]
    for rank, host in enumerate(hosts):
        place = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}})
        process = host.popen("vaeflow", *command, "--strategy=multiworker", env={"TF_CONFIG": place}, **PIPES)
        yield Output(process)


def writes_files(folder):
    """Return a vaeflow whose ranks write errors to files, with the time: the cut would keep those of one from us."""
    script = folder / "vaeflow"
    script.write_text(STAMPED.format(folder=folder))
    script.chmod(0o755)
    return str(script)


def start_horovod(hosts, command):
    """Start the launcher on the first machine."""
    variables = {"HOSTS": "h1:1,h2:1", "VAEFLOW": writes_files(Path(command[-1]).parent)}
    yield Output(hosts[0].popen(str(ROOT / "launch" / "horovodrun.sh"), *command[1:], env=variables, **PIPES))


def ranks(host):
    """Return the numbers of the ranks on a machine."""
    return [pid for pid, line in host.programs().items() if re.search(r"from vaeflow\.cli(?!.*horovodrun)", line)]


def trains(run, outputs):
    """Return whether a checkpoint after the first is there; fail if a process has ended."""
    assert all(output.process.poll() is None for output in outputs), told(run.parent, outputs, 0.0)
    return any(run.glob("checkpoints/step-*[1-9]*"))


@pytest.fixture(params=[link_down, packets_dropped], ids=["link down", "packets dropped"])
def cut(request, hosts):
    """What cuts the cable, in a context."""
    return lambda: request.param(hosts)


def seconds_until_ended(hosts, since):
    """Wait until no rank runs on either machine; return when that was so on each."""
    ended = [None for _ in hosts]
    while None in ended and time.time() < since + 60:
        for rank, host in enumerate(hosts):
            if ended[rank] is None and not ranks(host):
                ended[rank] = time.time() - since
        time.sleep(0.05)
    return ended


def told(tmp_path, outputs, since):
    """Return what was said after a moment, with the seconds; ranks of Horovod write files."""
    lines = [line for one in outputs for line in one.lines]
    for path in sorted(tmp_path.glob("rank-*.err")):
        stamped = (line.partition(" ") for line in path.read_text().splitlines(keepends=True))
        lines += [(float(at), line) for at, _, line in stamped]
    return "".join(f"{at - since:.1f} s: {line}" for at, line in lines if at > since)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(start_horovod, id="horovod", marks=pytest.mark.horovod),
        pytest.param(start_multiworker, id="multiworker"),
    ],
)
def test_both_sides_of_a_partition_end(start, cut, hosts, job, tmp_path):
    run = tmp_path / "run"
    outputs = list(start(hosts, ("train", *job.arguments, "--run-dir", str(run))))
    wait_until(lambda: trains(run, outputs), "not training", seconds=200)
    with cut():
        since = time.time()
        ended = seconds_until_ended(hosts, since)
        codes = [output.end() for output in outputs]
        everything = time.time() - since
    said = told(tmp_path, outputs, since)
    sys.stdout.write(f"ranks ended after {ended} s, launchers after {everything:.1f} s with {codes}\n{said}")
    assert None not in ended
    assert max(ended) < SECONDS
    assert all(codes)
    for lost, host in ((1, "h2"), (0, "h1")):
        line = rf"rank {lost} \(host {host}, process \d+\) sent no heartbeat for 10 s: it is stopped, or cut off"
        assert re.search(line, said), said
    assert said.count(f"`vaeflow resume {run}` continues from the newest checkpoint") == 2
    assert not list(run.rglob("*.partial"))
    assert small_runs.vaeflow("resume", run, "strategy=single").returncode == 0
    assert small_runs.summary(run)["state_sha256"] == job.state_sha256


@pytest.mark.horovod
@pytest.mark.parametrize("lose", [link_down, packets_dropped, stopped])
def test_an_elastic_job_goes_on_without_a_host(lose, hosts, job, tmp_path):
    run, names = tmp_path / "run", tmp_path / "hosts"
    names.write_text("h1:1\nh2:1\n")
    variables = {"HOSTS_FILE": str(names), "RUN_DIR": str(run), "START": "2", "VAEFLOW": writes_files(tmp_path)}
    script = str(ROOT / "launch" / "elastic.sh")
    outputs = [Output(hosts[0].popen(script, *job.arguments, env=variables, **PIPES))]
    wait_until(lambda: trains(run, outputs), "not training", seconds=200)
    with lose(hosts):
        since = time.time()
        try:
            wait_until(lambda: "1 replica from now on" in told(tmp_path, outputs, since), "no fewer ranks", seconds=30)
            fewer = time.time() - since
            wait_until(lambda: not ranks(hosts[1]), "the other side has not ended", seconds=30)
            ended = time.time() - since
            code = outputs[0].end()
        finally:
            sys.stdout.write(told(tmp_path, outputs, since))
    sys.stdout.write(
        f"1 replica after {fewer:.1f} s, the other side ended after {ended:.1f} s, the launcher with {code}"
    )
    assert max(fewer, ended) < SECONDS
    cut_off = "it has ended, or this host is cut off from it" in told(tmp_path, outputs, since)
    assert cut_off is (lose is not stopped)
    assert code == 0
    assert small_runs.summary(run)["state_sha256"] == job.state_sha256
