"""Write the means of q(z given x) of all examples of a split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.commands.out import require_new
from vaeflow.errors import UsageError
from vaeflow.files.write import written_aside

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
    data_dir: Path | None = None,
    accept_changes: bool = False,
) -> Path:
    """Encode a split and write the means, in the order in which the examples are stored.

    Args:
        run_dir: the run's directory.
        out: a `.npy` file for [N, D] float32, or a `.npz` file with one array per group of latents.
        split: `train`, `validation` or `test`.
        best: use the best checkpoint instead of the newest.
        modules: plugins that are not installed.
        data_dir: the user's folder of data sets.
        accept_changes: encode even if config, plugin code or data have changed since the checkpoint.

    Returns:
        The file.

    Raises:
        UsageError: if the file already exists, has another suffix or no directory; or if it is a `.npy` file and there
            are several groups.
    """
    require_new(out, (".npy", ".npz"))
    from vaeflow.api import load

    run = load(run_dir, best=best, plugins=modules, data_dir=data_dir, accept_changes=accept_changes)
    groups = [group.name for group in run.trained.latents]
    if len(groups) > 1 and out.suffix == ".npy":
        raise UsageError(f"--out {out}: this model has the groups {', '.join(groups)}: use a .npz file")
    found = run.embeddings(split)
    arrays: dict[str, Any] = found if isinstance(found, dict) else {groups[0]: found}
    with written_aside(out) as aside, aside.open("wb") as file:
        if out.suffix == ".npz":
            np.savez(file, **arrays)
        else:
            np.save(file, arrays[groups[0]], allow_pickle=False)
    return out
