"""Steps whose gradient is too large are the same ones on every topology: some of a run's, not all and not none."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import everywhere
from helpers.jobs import TOPOLOGIES, usual
from helpers.small_runs import rows

RUN = ("mnist-mlp-20", "latent_size=3", "encoder.hidden=[8]", "decoder.hidden=[8]", "log.every_steps=1")
pytestmark = pytest.mark.distributed


def skipped(run):
    """Return the steps that were skipped."""
    return [row["step"] for row in rows(run) if row.get("train/skipped_steps")]


@pytest.fixture(scope="module")
def limited(tmp_path_factory):
    """The arguments of a run with a limit amid the gradients' norms, its state and its skipped steps on one device."""
    folder = tmp_path_factory.mktemp("alone")
    everywhere.trained("single", 1, folder / "free", *RUN)
    norms = [row["train/gradient_norm"] for row in rows(folder / "free") if "train/gradient_norm" in row]
    arguments = (*RUN, f"skip_norm={np.median(norms):.4g}")
    state = everywhere.trained("single", 1, folder / "run", *arguments)
    steps = skipped(folder / "run")
    assert 2 <= len(steps) <= 10
    assert state != everywhere.state_of(folder / "free")
    return arguments, state, steps


@pytest.mark.parametrize(("kind", "count"), usual(TOPOLOGIES, "mirrored x2"))
def test_the_same_steps_are_skipped_everywhere(limited, kind, count, tmp_path):
    arguments, state, steps = limited
    assert everywhere.trained(kind, count, tmp_path / "run", *arguments) == state
    assert skipped(tmp_path / "run") == steps


@pytest.mark.repetition
def test_they_are_skipped_after_a_kill_and_a_resume(limited, tmp_path):
    arguments, state, steps = limited
    assert everywhere.killed_and_resumed("mirrored", 3, tmp_path, *arguments) == state
    assert skipped(tmp_path / "run") == steps
