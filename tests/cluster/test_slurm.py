"""The batch files under a real SLURM: virtual nodes of one machine, and two machines with a cable between them."""

from __future__ import annotations

import re
import sys

import pytest
from helpers import small_runs
from helpers.machines import NETWORK, machine, tools, wait_until
from helpers.paths import ROOT
from helpers.slurm import Node, slurm

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.distributed]
NODES = ("n8", "n9", "n10", "n11")  # as texts, the last come first
LAUNCH = ROOT / "launch"


@pytest.fixture(scope="module")
def one_machine(tmp_path_factory):
    """SLURM with four virtual nodes on one machine."""
    folder = tmp_path_factory.mktemp("one-machine")
    address = f"{NETWORK}.1"
    etc = {"hosts": f"127.0.0.1 localhost\n{address} box {' '.join(NODES)}\n"}
    with machine(folder, "box", etc, tools(folder)) as box:
        # SLURM wants an address that is not 127.0.0.1.
        box.run("ip", "addr", "add", f"{address}/32", "dev", "lo")
        with slurm(folder / "slurm", [Node(name, box, address) for name in NODES]) as cluster:
            yield cluster


@pytest.fixture(scope="module")
def two_machines(tmp_path_factory, hosts):
    """SLURM with a node on each of two machines."""
    nodes = [Node(host.name, host, f"{NETWORK}.{number}") for number, host in enumerate(hosts, start=1)]
    with slurm(tmp_path_factory.mktemp("two-machines") / "slurm", nodes) as cluster:
        yield cluster


@pytest.mark.parametrize(
    ("strategy", "replicas", "layout"),
    [
        ("horovod", 2, "--nodes=2 --ntasks-per-node=1"),
        ("multiworker", 2, "--nodes=1 --ntasks-per-node=2"),
        ("multiworker", 3, "--nodelist=n[9-10] --ntasks=3"),  # two tasks on one, one on the other
        ("multiworker", 1, "--nodes=1 --ntasks-per-node=1"),
    ],
)
def test_a_batch_file_trains_to_the_same_bits(strategy, replicas, layout, one_machine, expected):
    run_dir = one_machine.folder / f"{strategy}-{replicas}"
    batch = str(LAUNCH / f"slurm-{strategy}.sbatch")
    code, printed = one_machine.sbatch(*layout.split(), batch, *expected.arguments, env={"RUN_DIR": str(run_dir)})
    sys.stdout.write(printed)
    assert code == 0, printed
    expected.assert_same(run_dir, strategy, replicas)


@pytest.mark.parametrize("strategy", ["horovod", "multiworker"])
def test_nodes_on_two_machines_train_to_the_same_bits(strategy, two_machines, hosts, expected, tmp_path):
    printed = hosts[0].run(
        *("vaeflow", "launch", "slurm", "--nodes=2", "--processes-per-node=1", f"--strategy={strategy}"),
        *(f"--run-dir={tmp_path / 'run'}", *expected.arguments),
    )
    batch = tmp_path / "job.sbatch"
    batch.write_text(printed.stdout)
    sent = [host.bytes_sent() for host in hosts]
    code, printed = two_machines.sbatch(str(batch))
    sys.stdout.write(printed)
    assert code == 0, printed
    expected.assert_same(tmp_path / "run", strategy)
    assert all(host.bytes_sent() - before > 500_000 for host, before in zip(hosts, sent, strict=True))


def test_an_error_ends_the_job_with_vaeflows_exit_code(one_machine):
    batch = str(LAUNCH / "slurm-horovod.sbatch")
    code, printed = one_machine.sbatch("--nodes=2", "--ntasks-per-node=1", batch, "mnist-2d", "epoch=1")
    assert code == 2
    assert printed.count("vaeflow: command line: epoch: unknown key; did you mean 'epochs'?") == 1  # by rank 0


def test_a_job_at_its_time_limit_saves_and_is_requeued(one_machine, tmp_path, expected):
    """SLURM's own time limit is a minute at least: its signal is sent by hand, as SLURM sends it."""
    arguments = (*expected.arguments, "steps=100000", "evaluate.every_epochs=100000", "checkpoint.every_steps=100000")
    run_dir = tmp_path / "run"
    batch = [str(LAUNCH / "slurm-multiworker.sbatch"), *arguments]
    options = ["--parsable", "--nodes=1", "--ntasks-per-node=2", f"--output={tmp_path / 'out'}"]
    number = one_machine.run("sbatch", *options, *batch, env={"RUN_DIR": str(run_dir)}).stdout.strip()
    wait_until((run_dir / "metrics.jsonl").exists, "not training", seconds=120)
    one_machine.run("scancel", "--signal=USR1", number)
    wait_until(lambda: one_machine.state(number) == "PENDING", "not requeued", seconds=60)
    printed = (tmp_path / "out").read_text()
    assert re.search(r"stopped by .* at step \d+ of 100000; the state is saved", printed), printed
    assert len(list(run_dir.glob("checkpoints/step-*"))) == 2  # of step 0, and of the end
    one_machine.run("scancel", number)


def test_a_requeued_job_goes_on_to_the_same_bits(one_machine, tmp_path, expected):
    arguments = (*expected.arguments, "steps=1500", "evaluate.every_epochs=1000", "checkpoint.every_steps=150")
    done = small_runs.vaeflow("train", *arguments, "--run-dir", tmp_path / "whole")
    assert done.returncode == 0, done.stderr
    run_dir = tmp_path / "run"
    batch = [str(LAUNCH / "slurm-horovod.sbatch"), *arguments]
    options = ["--parsable", "--nodes=2", "--ntasks-per-node=1", f"--output={tmp_path / 'out'}"]
    # Without --wait: where a job is put back, it takes that for the end.
    number = one_machine.run("sbatch", *options, *batch, env={"RUN_DIR": str(run_dir)}).stdout.strip()
    wait_until(lambda: list(run_dir.glob("checkpoints/step-*")), "no checkpoint", seconds=120)
    one_machine.run("scontrol", "requeue", number)
    wait_until(lambda: one_machine.state(number) == "PENDING", "not requeued", seconds=30)
    # SLURM holds it back for two minutes otherwise.
    one_machine.run("scontrol", "update", f"JobId={number}", "StartTime=now")
    ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
    wait_until(lambda: one_machine.state(number) in ended, "the job did not end", seconds=240)
    assert one_machine.state(number) == "COMPLETED", (tmp_path / "out").read_text()
    assert re.search(r"resuming from step \d+ of 1500", (tmp_path / "out").read_text())
    ends = [small_runs.summary(folder)["state_sha256"] for folder in (run_dir, tmp_path / "whole")]
    assert ends[0] == ends[1]
