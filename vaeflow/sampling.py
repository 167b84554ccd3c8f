"""Writes samples of a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def sample_run(
    run_dir: Path,
    count: int = 64,
    seed: int = 0,
    out: Path | None = None,
    modules: Sequence[str] = (),
    data_dir: Path | None = None,
) -> Path:
    """Draw examples from the prior through a run's decoder and write them.

    Args:
        run_dir: the run's directory.
        count: how many.
        seed: equal seeds give equal examples.
        out: a `.npy` file for the array [count, *X] float32, or a `.png` for a picture of images; None writes
            `samples-SEED.npy` into the run's directory.
        modules: plugins that are not installed.
        data_dir: the user's folder of data sets.

    Returns:
        The file.

    Raises:
        UsageError: if the file exists already, has another ending, or examples are no images for a picture.
    """
    target = out or run_dir / f"samples-{seed}.npy"
    if target.suffix not in (".npy", ".png"):
        raise UsageError(f"--out {target}: the file's name must end with .npy or .png")
    if target.exists():
        raise UsageError(f"--out {target} exists already and nothing is overwritten: name another file")
    from vaeflow.api import load

    samples = load(run_dir, plugins=modules, data_dir=data_dir).sample(count, seed=seed)
    if target.suffix == ".png":
        from vaeflow.plots.samples import draw_samples

        draw_samples(samples, target)
        return target
    aside = target.with_name(f".{target.name}.{os.getpid()}.partial")
    with aside.open("wb") as file:
        np.save(file, samples, allow_pickle=False)
    aside.replace(target)
    return target
