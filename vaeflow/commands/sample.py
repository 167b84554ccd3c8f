"""Write samples of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from vaeflow.commands.out import require_new
from vaeflow.errors import UsageError
from vaeflow.files.write import written_aside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def sample_run(
    run_dir: Path,
    *,
    count: int = 64,
    seed: int = 0,
    label: int | None = None,
    temperature: float = 1.0,
    out: Path | None = None,
    best: bool = False,
    modules: Sequence[str] = (),
    data_dir: Path | None = None,
    accept_changes: bool = False,
) -> Path:
    """Sample latents from the prior, decode them to examples, and write these.

    Args:
        run_dir: the run's directory.
        count: number of examples.
        seed: equal seeds give equal examples.
        label: the class of all examples, for a conditional model; None takes all classes in turn.
        temperature: factor of the prior's noise.
        out: a `.npy` file for the array [count, *X] float32, or a `.png` or `.pdf` for a picture of images; None writes
            `samples-SEED.npy` into the run's directory.
        best: use the best checkpoint instead of the newest.
        modules: plugins that are not installed.
        data_dir: the user's folder of data sets.
        accept_changes: sample even if config, plugin code or data have changed since the checkpoint.

    Returns:
        The file.

    Raises:
        UsageError: if the file already exists, has another suffix or no directory, or a picture is requested of
            examples that are not images.
    """
    target = require_new(out or run_dir / f"samples-{seed}.npy", (".npy", ".png", ".pdf"))
    from vaeflow.api import load

    loaded = load(run_dir, best=best, plugins=modules, data_dir=data_dir, accept_changes=accept_changes)
    samples = loaded.sample(count, seed=seed, labels=label, temperature=temperature)
    with written_aside(target) as aside, aside.open("wb") as file:
        write_samples(samples, file, target.suffix)
    return target


def write_samples(samples: np.ndarray, file: BinaryIO, suffix: str) -> None:
    """Write examples [N, *X] as an array (`.npy`) or as a picture of images (`.png`, `.pdf`).

    Raises:
        UsageError: if a picture is requested of examples that are not images.
    """
    if suffix == ".npy":
        np.save(file, samples, allow_pickle=False)
        return
    from matplotlib import image

    from vaeflow.plots.grid import is_image, tile
    from vaeflow.plots.style import no_origin

    if not is_image(samples.shape[1:]):
        raise UsageError(f"examples of shape {samples.shape[1:]} are not images: use a .npy file for --out")
    grid = tile(samples, math.ceil(math.sqrt(len(samples))))
    image.imsave(
        file,
        grid.squeeze(-1) if grid.shape[-1] == 1 else grid,
        cmap="gray",
        vmin=0.0,
        vmax=1.0,
        format=suffix.removeprefix("."),
        metadata=no_origin(suffix),
    )
