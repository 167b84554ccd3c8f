"""Tests that start SLURM and sshd. They take root and packages, so they are skipped without `--cluster`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from helpers import machines, slurm, small_runs, ssh

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = ("microbatches=4", "steps=6")
PACKAGES = "slurm-wlm munge openssh-server iproute2"


@dataclass(frozen=True)
class Expected:
    """A short run on one device, and how to make it elsewhere.

    Attributes:
        arguments: a recipe and settings.
        state_sha256: of its weights and optimizer slots at the end.
    """

    arguments: tuple[str, ...]
    state_sha256: str

    def assert_same(self, run_dir: Path, strategy: str, replicas: int = 2) -> None:
        """Check that a run ended with the same bits, and on how many replicas it did."""
        found = small_runs.summary(run_dir)
        assert (found["strategy"], found["replicas"]) == (strategy, replicas)
        assert found["state_sha256"] == self.state_sha256


@pytest.fixture(scope="session")
def expected(tmp_path_factory, mnist_content):
    """What one device makes of a few steps."""
    folder = tmp_path_factory.mktemp("expected")
    data = small_runs.write_digits(folder / "digits.npz", mnist_content)
    arguments = ("mnist-2d", *small_runs.on(data, *SETTINGS))
    done = small_runs.vaeflow("train", *arguments, "--strategy=single", "--run-dir", folder / "run")
    assert done.returncode == 0, done.stderr
    return Expected(arguments, small_runs.summary(folder / "run")["state_sha256"])


@pytest.fixture(scope="session", autouse=True)
def _able():
    """Say what stands in the way of these tests."""
    lacking = machines.missing([*slurm.PROGRAMS, *ssh.PROGRAMS])
    if lacking:
        pytest.fail(
            f"these tests need {', '.join(lacking)}: as root, apt-get install --no-install-recommends {PACKAGES}"
        )


@pytest.fixture(scope="session")
def hosts(tmp_path_factory):
    """Machines h1 and h2, which reach each other by ssh."""
    with ssh.hosts(tmp_path_factory.mktemp("hosts")) as pair:
        yield pair
