"""A grid of runs: every combination of some settings."""

from __future__ import annotations

import itertools
import re
import shlex
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.distributed.job.cores import cores
from vaeflow.errors import UsageError
from vaeflow.files.read import kind_of, read_json
from vaeflow.plugins.registry import Registry
from vaeflow.runtime.threads import threads_of
from vaeflow.training.run_files.directory import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

RECORD = "sweep.json"
RANGE = re.compile(r"(-?\d{1,9})\.\.(-?\d{1,9})")
MOST_RUNS = 10_000
UNSAFE = re.compile(r"[^A-Za-z0-9_.,+=-]+")
LONGEST_NAME = 120


@dataclass(frozen=True)
class Sweep:
    """A grid of runs.

    Attributes:
        recipe: a recipe's name or the path of a TOML file.
        settings: `KEY=VALUE`; the VALUE of an axis is a list `a,b,c` or a range `0..4`.
        out: the folder of the runs.
        options: further options of `vaeflow train`, such as `--plugin=NAME`.
        modules: plugins that are not installed.
        search: what a search is determined by beside this; none for a grid.
    """

    recipe: str
    settings: tuple[str, ...]
    out: Path
    options: tuple[str, ...] = ()
    modules: tuple[str, ...] = field(default=(), compare=False)
    search: Mapping[str, Any] = field(default_factory=dict)

    def points(self) -> list[Point]:
        """Return the runs, the last axis fastest.

        Raises:
            UsageError: if a setting is not KEY=VALUE, no setting is an axis, or there are too many runs.
        """
        axes = [values_of(setting) for setting in self.settings]
        count = 1
        for values in axes:
            count *= len(values)
        if count > MOST_RUNS:
            raise UsageError(f"this grid has {count:,} runs; at most {MOST_RUNS:,} are allowed")
        varies = [len(values) > 1 for values in axes]
        if not any(varies):
            raise UsageError("no setting has several values, such as seed=0..2 or latent_size=2,10")
        found = []
        for settings in itertools.product(*axes):
            own = tuple(one for one, axis in zip(settings, varies, strict=True) if axis)
            name = UNSAFE.sub("-", ",".join(own))[:LONGEST_NAME].strip("-.")
            found.append(Point(settings, own, self.out / name))
        if len({point.run_dir for point in found}) < len(found):
            found = [Point(p.settings, p.own, self.out / f"{i:04d}_{p.run_dir.name}") for i, p in enumerate(found)]
        return found

    def check(self, points: Sequence[Point]) -> int:
        """Check the config of every run, and return how many threads the largest one uses. Imports no TensorFlow.

        Raises:
            UsageError: if a setting is wrong, or the folder has another sweep.
        """
        registry = Registry.load(self.modules)
        threads = 1
        for point in points:
            config = resolve(compose(self.recipe, point.settings, registry.recipe), registry).config
            threads = max(threads, threads_of(config))
        self._require_own_folder()
        return threads

    def _require_own_folder(self) -> None:
        record = self.out / RECORD
        if kind_of(record) is not None:
            there = read_json(record)
            if there != self.record():
                words = shlex.join([str(there.get("recipe")), *map(str, there.get("settings", []))])
                raise UsageError(f"{self.out} has another sweep, {words}: choose another folder by --out")
        elif self.out.is_dir() and any(self.out.iterdir()):
            raise UsageError(f"{self.out} is not empty and has no sweep: choose another folder by --out")

    def record(self) -> dict[str, object]:
        """Return what identifies the sweep."""
        own = {"recipe": self.recipe, "settings": list(self.settings), "options": list(self.options)}
        return own | ({"search": dict(self.search)} if self.search else {})

    def command(self, point: Point) -> list[str]:
        """Return the command of a run."""
        train = [sys.executable, "-m", "vaeflow", "train", self.recipe, *point.settings, *self.options]
        return [*train, f"--run-dir={point.run_dir}", "--resume=auto"]


@dataclass(frozen=True)
class Point:
    """One run of a grid.

    Attributes:
        settings: of the run.
        own: those that differ between the runs.
        run_dir: its directory.
    """

    settings: tuple[str, ...]
    own: tuple[str, ...]
    run_dir: Path

    @property
    def log(self) -> Path:
        """What the run prints."""
        return self.run_dir.with_name(f"{self.run_dir.name}.log")

    @property
    def finished(self) -> bool:
        """Whether the run has ended."""
        return kind_of(RunDirectory(self.run_dir).summary) is not None


def values_of(setting: str) -> list[str]:
    """Return a setting for each of its values.

    >>> values_of("seed=0..2"), values_of("encoder.hidden=[8],[16,16]"), values_of("epochs=5")
    (['seed=0', 'seed=1', 'seed=2'], ['encoder.hidden=[8]', 'encoder.hidden=[16,16]'], ['epochs=5'])

    Raises:
        UsageError: if it is not KEY=VALUE, a range is empty, or a value is.
    """
    key, equals, text = setting.partition("=")
    if not equals:
        raise UsageError(f"{setting!r} is not KEY=VALUE, such as seed=0..2 or latent_size=2,10")
    found = RANGE.fullmatch(text)
    if found:
        first, last = int(found[1]), int(found[2])
        if last < first:
            raise UsageError(f"{setting}: the range is empty: {first} is larger than {last}")
        if last - first >= MOST_RUNS:
            raise UsageError(f"{setting}: at most {MOST_RUNS:,} values are allowed")
        return [f"{key}={number}" for number in range(first, last + 1)]
    values = list(_split(text))
    if len(values) > 1 and not all(values):
        raise UsageError(f"{setting}: a value between commas is empty")
    if len(set(values)) < len(values):
        raise UsageError(f"{setting}: a value is there twice")
    return [f"{key}={value}" for value in values]


def _split(text: str) -> Iterator[str]:
    """Yield the parts between commas that are in no brackets, braces or quotation marks."""
    depth, quote, part = 0, "", ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
        if letter == "," and not depth and not quote:
            yield part
            part = ""
        else:
            part += letter
    yield part


def jobs_that_fit(threads: int) -> int:
    """Return how many runs may train at a time on this machine's cores.

    Args:
        threads: that one of them uses.
    """
    return max(1, cores() // threads)


def slurm_array(sweep: Sweep, count: int, threads: int) -> str:
    """Return a script for sbatch that trains each run as a task of a job array.

    Args:
        sweep: the grid.
        count: of its runs.
        threads: that one of them uses.
    """
    command = shlex.join(["vaeflow", "sweep", sweep.recipe, *sweep.settings, *sweep.options, f"--out={sweep.out}"])
    return "\n".join(
        [
            "#!/bin/bash",
            f"#SBATCH --job-name=sweep-{sweep.out.name}",
            f"#SBATCH --array=0-{count - 1}",
            f"#SBATCH --cpus-per-task={threads}",
            "#SBATCH --signal=TERM@60  # the state is saved, and the same script resumes it",
            "set -euo pipefail",
            f'exec {command} --only="$SLURM_ARRAY_TASK_ID"',
            "",
        ]
    )
