"""One run on each topology, and killed by SIGKILL and resumed on another one: the hash of its final state."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from helpers.jobs import job, summary_of
from helpers.kill_callback import killing_at

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DIGITS = ("dataset=digits", "dataset.train_examples=41", "dataset.test_examples=33")
STEPS = (
    *("batch_size=24", "microbatches=6", "steps=12"),
    *("log.tensorboard=false", "plots.draw=[]", "checkpoint.every_steps=4"),
)
"""12 steps of 24 and 17 of those digits by turns, in 6 microbatches."""


def state_of(run: Path) -> str:
    """Return the hash of a finished run's state."""
    return str(summary_of(run)["state_sha256"])


def trained(kind: str, count: int, run: Path, recipe: str, *arguments: object, data: Sequence[str] = DIGITS) -> str:
    """Train for `STEPS` on a topology and return the hash of the final state."""
    finished = job(kind, count, "train", recipe, *data, *STEPS, *arguments, f"--run-dir={run}")
    assert set(finished.codes) == {0}, finished.outputs
    return state_of(run)


def killed_and_resumed(
    kind: str, count: int, folder: Path, recipe: str, *arguments: object, data: Sequence[str] = DIGITS
) -> str:
    """Train on one device to a kill, resume on a topology and return the hash of the final state.

    Args:
        kind: of the topology that resumes it.
        count: its replicas.
        folder: where the run and the plugin that kills it are written.
        recipe: that is trained.
        arguments: of `train`; those that begin with `--plugin` are those of `resume`, too.
        data: settings of the data set.
    """
    run, plugin = folder / "run", folder / "kill.py"
    plugin.write_text(killing_at(8, saved=4))
    given = (*arguments, f"--plugin={plugin}")
    finished = job("single", 1, "train", recipe, *data, *STEPS, *given, "callbacks=['kill']", f"--run-dir={run}")
    assert set(finished.codes) <= {-signal.SIGKILL, 128 + signal.SIGKILL}, finished.outputs
    assert not (run / "summary.json").exists()
    assert max(path.name for path in (run / "checkpoints").glob("step-*")) in ("step-000000004", "step-000000008")
    plugins = [argument for argument in given if str(argument).startswith("--plugin")]
    finished = job(kind, count, "resume", run, *plugins)
    assert set(finished.codes) == {0}, finished.outputs
    return state_of(run)
