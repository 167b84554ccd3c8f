"""Horovod over two machines that ssh joins, through `launch/horovodrun.sh`."""

from __future__ import annotations

import pytest
from machines import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.distributed, pytest.mark.horovod]
SCRIPT = str(ROOT / "launch" / "horovodrun.sh")
SUMS = 500_000
"""Bytes that a rank sends in the test's steps at least: 13,434 parameters of 8 bytes, 6 times, is 645,000."""


def test_two_hosts_train_to_the_same_bits(hosts, expected, tmp_path):
    sent = [host.bytes_sent() for host in hosts]
    hosts[0].run(SCRIPT, *expected.arguments, f"--run-dir={tmp_path / 'run'}", env={"HOSTS": "h1:1,h2:1"})
    expected.assert_same(tmp_path / "run", "horovod")
    assert all(host.bytes_sent() - before > SUMS for host, before in zip(hosts, sent, strict=True))
    assert not [line for host in hosts for line in host.programs() if "vaeflow" in line and "train" in line]
