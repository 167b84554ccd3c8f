"""A command that the fork server starts does what one that a shell starts does."""

from __future__ import annotations

import resource
import signal

import pytest
from helpers import fork_server
from helpers.small_runs import on, rows, summary, vaeflow, write_digits

TOPOLOGIES = [
    pytest.param((), id="single"),
    pytest.param(
        ("strategy=mirrored", "strategy.replicas=2"),
        id="mirrored x2",
        marks=[pytest.mark.slow, pytest.mark.distributed, pytest.mark.repetition],
    ),
]
PATIENCE = 120  # seconds


@pytest.fixture(scope="module")
def server():
    return fork_server.server()


@pytest.fixture(scope="module")
def settings(tmp_path_factory, mnist_content):
    data = write_digits(tmp_path_factory.mktemp("digits") / "digits.npz", mnist_content, train=64, test=8)
    return on(data, "microbatches=4", "batch_size=8", "steps=12", "optimizer=adam", 'plots.draw=["samples"]')


@pytest.mark.slow
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_bits_are_those_of_a_plain_start(tmp_path, server, settings, topology):
    plain = vaeflow("train", "mnist-2d", "--run-dir", tmp_path / "plain", *settings, *topology, plain=True)
    assert (plain.returncode, plain.stderr) == (0, "")
    done = server.run("train", "mnist-2d", "--run-dir", tmp_path / "forked", *settings, *topology, timeout=PATIENCE)
    assert (done.returncode, done.stderr, done.hung) == (0, "", False)
    assert summary(tmp_path / "forked") == summary(tmp_path / "plain")
    assert rows(tmp_path / "forked") == rows(tmp_path / "plain")


def test_lines_and_exit_codes(tmp_path, server):
    done, plain = server.run("evaluate", tmp_path / "absent"), vaeflow("evaluate", tmp_path / "absent", plain=True)
    assert (done.returncode, done.stdout, done.stderr) == (plain.returncode, plain.stdout, plain.stderr)
    assert done.returncode == 2


def test_two_commands_at_a_time_with_places_of_their_own(tmp_path, server):
    (tmp_path / "place.py").write_text(
        "import os, resource\nprint(os.getcwd(), os.environ['WHO'], resource.getrlimit(resource.RLIMIT_FSIZE)[0])\n"
    )
    limits = {resource.RLIMIT_FSIZE: 1 << 20}
    started = [
        server.start("plugins", "--plugin", "./place.py", cwd=tmp_path, environment={"WHO": who}, limits=limits)
        for who in ("one", "two")
    ]
    ended = [each.wait(PATIENCE) for each in started]
    assert [done.stdout.splitlines()[0] for done in ended] == [f"{tmp_path} {who} {1 << 20}" for who in ("one", "two")]


def test_a_command_that_hangs_is_killed(tmp_path, server):
    (tmp_path / "sleeps.py").write_text("import time\ntime.sleep(1000)\n")
    done = server.run("plugins", "--plugin", tmp_path / "sleeps.py", timeout=1)
    assert (done.hung, done.returncode) == (True, -signal.SIGKILL)
    assert done.seconds < PATIENCE


def test_a_command_that_spins_is_killed(tmp_path, server):
    (tmp_path / "spins.py").write_text("while True:\n    pass\n")
    done = server.run("plugins", "--plugin", tmp_path / "spins.py", timeout=1)
    assert (done.hung, done.returncode) == (True, -signal.SIGKILL)
    assert done.cpu_seconds >= 1 / 2
