"""Write the means of q(z given x) of all examples of a split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.commands.out import require_new
from vaeflow.data.sets import Folders
from vaeflow.errors import UsageError
from vaeflow.files.write import written_aside
from vaeflow.training.embeddings import means_of
from vaeflow.training.opened import ONE_DEVICE, opened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def encode_run(
    run_dir: Path,
    out: Path,
    *,
    split: str = "test",
    best: bool = False,
    modules: Sequence[str] = (),
    settings: Sequence[str] = ONE_DEVICE,
    data_dir: Path | None = None,
    accept_changes: bool = False,
) -> Path | None:
    """Encode a split and write the means, in the order in which the examples are stored.

    All processes of a job call this. Each encodes a share of the examples; rank 0 writes.

    Args:
        run_dir: the run's directory.
        out: a `.npy` file for [N, D] float32, or a `.npz` file with one array per group of latents.
        split: `train`, `validation` or `test`.
        best: use the best checkpoint instead of the newest.
        modules: plugins that are not installed.
        settings: `KEY=VALUE` below `strategy`.
        data_dir: the user's folder of data sets.
        accept_changes: encode even if config, plugin code or data have changed since the checkpoint.

    Returns:
        The file; None on ranks other than 0.

    Raises:
        UsageError: if the file already exists, has another suffix or no directory; or if it is a `.npy` file and there
            are several groups.
    """
    with opened(
        run_dir,
        Folders.default(data_dir),
        agreed={"split": split, "out": str(out)},
        best=best,
        modules=modules,
        settings=settings,
        accept_changes=accept_changes,
    ) as (experiment, processes, _):
        groups = [group.name for group in experiment.model.latents]

        def check() -> None:
            require_new(out, (".npy", ".npz"))
            if len(groups) > 1 and out.suffix == ".npy":
                raise UsageError(f"--out {out}: this model has the groups {', '.join(groups)}: use a .npz file")

        processes.on_chief(check)
        found = means_of(experiment, split)
        processes.on_chief(lambda: _write(found, out))
    return out if processes.chief else None


def _write(found: dict[str, Any], out: Path) -> None:
    with written_aside(out) as aside, aside.open("wb") as file:
        if out.suffix == ".npz":
            np.savez(file, **found)
        else:
            (means,) = found.values()
            np.save(file, means, allow_pickle=False)
