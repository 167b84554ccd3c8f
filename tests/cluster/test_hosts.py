"""Horovod over two machines that ssh joins, through `launch/horovodrun.sh`."""

from __future__ import annotations

import subprocess
import sys

import pytest
from helpers.machines import wait_until
from helpers.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.distributed, pytest.mark.horovod]
SCRIPT = str(ROOT / "launch" / "horovodrun.sh")
SUMS = 500_000
"""Bytes that a rank sends in the steps at least: about 13,400 parameters of 8 bytes, 6 times, are 643,000."""


def test_two_hosts_train_to_the_same_bits(hosts, expected, tmp_path):
    sent = [host.bytes_sent() for host in hosts]
    done = hosts[0].run(SCRIPT, *expected.arguments, f"--run-dir={tmp_path / 'run'}", env={"HOSTS": "h1:1,h2:1"})
    sys.stdout.write(done.stdout)
    expected.assert_same(tmp_path / "run", "horovod")
    assert all(host.bytes_sent() - before > SUMS for host, before in zip(hosts, sent, strict=True))
    assert not training(hosts)


def test_term_ends_the_processes_of_both_hosts(hosts, expected, tmp_path):
    long = (*expected.arguments, "steps=100000", "log.every_steps=50", f"--run-dir={tmp_path / 'run'}")
    with hosts[0].popen(SCRIPT, *long, env={"HOSTS": "h1:1,h2:1"}, stdout=subprocess.DEVNULL) as launcher:
        wait_until((tmp_path / "run" / "metrics.jsonl").exists, "no step was taken", seconds=120)
        (number,) = [pid for pid, line in hosts[0].programs().items() if "horovodrun -np" in line]
        hosts[0].run("kill", "-TERM", str(number))
        assert launcher.wait(60) == 1
    wait_until(lambda: not training(hosts), "processes are left", seconds=60)


def training(hosts) -> list[str]:
    """Return what of `vaeflow train` runs on machines."""
    return [line for host in hosts for line in host.programs().values() if "from vaeflow.cli" in line]
