"""The log of a run as columns."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from vaeflow.errors import UsageError
from vaeflow.files.json_lines import read_rows
from vaeflow.files.read import kind_of
from vaeflow.training.run_files.directory import RunDirectory

if TYPE_CHECKING:
    from pathlib import Path


def history_of(run_dir: Path) -> Any:
    """Return the rows of a run's log: a pandas.DataFrame if pandas is installed, else a dict of lists by column.

    Args:
        run_dir: the run's directory.

    Raises:
        UsageError: if the run has no log yet.
    """
    columns = columns_of(RunDirectory(run_dir).metrics)
    if importlib.util.find_spec("pandas") is None:
        return columns
    pd = importlib.import_module("pandas")
    return pd.DataFrame({name: pd.Series(values, dtype=_type_of(name)) for name, values in columns.items()})


def columns_of(path: Path) -> dict[str, list[Any]]:
    """Return the values of a log by column, `step` and `epoch` first; None where a row has none.

    Args:
        path: of the log; lines that are not rows are skipped.

    Raises:
        UsageError: if there is no such file.
    """
    if kind_of(path) is None:
        raise UsageError(f"{path}: there is no log: the run has not begun")
    rows = [row for _, row in read_rows(path) if row is not None]
    names = dict.fromkeys(["step", "epoch", *(name for row in rows for name in row)])
    return {name: [row.get(name) for row in rows] for name in names}


def _type_of(name: str) -> str:
    return "int64" if name == "step" else "float64"
