"""Read the rows of a run's metrics.jsonl, even if a crash or someone else has changed the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaeflow.errors import FileError
from vaeflow.files.read import open_regular, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONGEST_ROW = 1 << 20  # bytes
LARGEST_FILE = 8 << 30  # bytes
LARGEST_INTEGER = 2**63


def read_rows(path: Path) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
    """Yield each line of a metrics file and its row; the row is None if the line is not valid.

    A row is a JSON object with a `step` of at least 0 and an `epoch`; all of its values are finite numbers or null.

    Args:
        path: the file.

    Raises:
        FileError: if it is not a regular file, or larger than 8 GiB.
        OSError: if reading or writing fails.
    """
    with open_regular(path) as file:
        size = file.seek(0, 2)
        if size > LARGEST_FILE:
            raise FileError(f"{path}: it has {size} bytes; at most {LARGEST_FILE} are allowed")
        file.seek(0)
        while line := file.readline(LONGEST_ROW):
            cut = len(line) == LONGEST_ROW and not line.endswith(b"\n")
            yield line.rstrip(b"\n"), None if cut else _row(line)
            while cut and line and not line.endswith(b"\n"):  # the rest of a line that is too long
                line = file.readline(LONGEST_ROW)


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = parse_json(line.decode(), "row")
    except (FileError, UnicodeDecodeError):
        return None
    if not isinstance(row, dict) or not all(map(_is_value, row.values())):
        return None
    step, epoch = row.get("step"), row.get("epoch")
    return row if isinstance(step, int) and step >= 0 and epoch is not None else None


def _is_value(value: Any) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < LARGEST_INTEGER
    return value is None or isinstance(value, float)
