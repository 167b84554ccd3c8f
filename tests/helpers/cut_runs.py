"""Finished runs cut back to an earlier checkpoint, as a kill leaves them, and moved with what they need."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def cut_back(run: Path, step: int) -> Path:
    """Remove what a finished run wrote after a checkpoint, but for its log, and return the run.

    Args:
        run: its directory.
        step: of the checkpoint that becomes the newest; it must be there.
    """
    (run / "summary.json").unlink()
    steps = {int(path.name.split("-")[1]): path for path in (run / "checkpoints").glob("step-*")}
    assert step in steps, sorted(steps)
    for later in steps.keys() - range(step + 1):
        shutil.rmtree(steps[later])
    return run


def moved(folder: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy a folder with a directory `run` and its data, make the copy the working directory, and return its run."""
    shutil.copytree(folder, to)
    monkeypatch.chdir(to)
    config = to / "run" / "config.toml"
    config.write_text(config.read_text().replace(str(folder), str(to)))
    return to / "run"
