"""Measure a recipe with several numbers of replicas, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.errors import UsageError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Compared:
    """What was measured with each number of replicas.

    Attributes:
        records: see `vaeflow.commands.bench.Measured.record`.
    """

    records: list[dict[str, Any]]

    def lines(self) -> list[str]:
        """Return a table; the speed-up and its share of a perfect one are relative to the first row."""
        first = self.records[0]
        lines = ["replicas  examples/s  lowest to highest  times  efficiency  exchange (ms)  step (ms)"]
        for one in self.records:
            speeds, replicas = one["examples_per_second"], one["replicas"]
            times = one["median_examples_per_second"] / first["median_examples_per_second"]
            efficiency = times * first["replicas"] / replicas
            spread = f"{min(speeds):,.0f} to {max(speeds):,.0f}"
            ms = one["milliseconds"]
            lines.append(
                f"{replicas:8}  {one['median_examples_per_second']:10,.0f}  {spread:>17}  {times:5.2f}  "
                f"{efficiency:10.0%}  {ms['exchange']:13.2f}  {ms['step']:9.2f}"
            )
        return lines


def numbers_of(text: str) -> list[int]:
    """Return the numbers of a list such as 1,2,4.

    Raises:
        UsageError: if it is none.
    """
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise UsageError(f"--replicas {text}: a list of numbers from 1 on, for example 1,2,4")
    return numbers


def compare_replicas(words: Sequence[str], numbers: Sequence[int]) -> Compared:
    """Measure each number of replicas.

    Args:
        words: of the command `vaeflow bench`, without --json.
        numbers: of replicas.

    Raises:
        VaeflowError: if one fails; it has printed why.
    """
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            out = Path(folder) / f"{number}.json"
            settings = ["strategy=mirrored", f"strategy.replicas={number}"] if number > 1 else ["strategy=single"]
            command = [sys.executable, "-m", "vaeflow", "bench", *words, *settings, f"--json={out}"]
            done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)  # noqa: S603
            if done.returncode:
                reason = f"vaeflow bench with {number} replicas ended with exit code {done.returncode}"
                raise UsageError(reason) if done.returncode == UsageError.exit_code else VaeflowError(reason)
            records.append(json.loads(out.read_text(encoding="utf-8")))
    return Compared(records)
