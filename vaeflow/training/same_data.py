"""Check before each save that no data file was written to: other data would give other bits without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from vaeflow.data.batches import Batches
    from vaeflow.distributed.strategies.processes import Processes


def require_same_data(batches: Iterable[Batches], processes: Processes, directory: Path) -> None:
    """Check that the files that a run reads while it trains are as they were when it started.

    All processes call this at the same step. Data in memory can't change, and are not checked.

    Args:
        batches: of all splits.
        processes: of the job; each may have files of its own.
        directory: of the run.

    Raises:
        DataError: on all processes, if one of them has a file that was written to.
    """
    changed = next(filter(None, (one.source.files.changed() for one in batches)), "")
    if processes.add(bool(changed))[0]:
        raise DataError(
            f"{changed or 'a data file of another rank'} was written to while the run read it: the steps since the "
            "newest checkpoint may have used other data, and are not saved. Restore the file, then `vaeflow resume "
            f"{directory}`; write new data to a new file"
        )
