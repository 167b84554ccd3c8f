"""Compare runs: means and standard errors over seeds, and what differs between the runs."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaeflow.callbacks.progress import SPLITS
from vaeflow.config.harmless import HARMLESS
from vaeflow.errors import FileError, UsageError, nearest
from vaeflow.files.json_lines import read_rows
from vaeflow.files.read import LARGE, kind_of, read_json, read_toml
from vaeflow.training.provenance.record import Provenance, differences, flat
from vaeflow.training.run_files.directory import RunDirectory
from vaeflow.training.run_files.names import checkpoints_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from vaeflow.training.provenance.record import Difference

SHOWN = ("elbo", "log_likelihood", "kl", "nll", "active_units")
OF_DATA = ("binarization", "transforms", "condition")
"""Tables of the config that decide, beside the data, what x is."""

SAME = ("seed", *HARMLESS)
"""Keys by which runs of one group may differ."""


@dataclass(frozen=True)
class Facts:
    """What a run left.

    Attributes:
        directory: of the run.
        record: provenance of its newest checkpoint: config, code, data and environment.
        step: of its newest metrics.
        finished: whether it ended.
        metrics: by name; those of `vaeflow evaluate` too.
    """

    directory: RunDirectory
    record: Provenance
    step: int
    finished: bool
    metrics: Mapping[str, float]

    @property
    def settings(self) -> dict[str, Any]:
        """The config by dotted key, without the keys of `SAME`."""
        return {key: value for key, value in flat(self.record.config).items() if key.partition(".")[0] not in SAME}


@dataclass(frozen=True)
class Statistic:
    """A metric over the runs of a group.

    Attributes:
        values: one per run.
        mean: of them.
        error: the standard error of the mean; None for one run.
    """

    values: tuple[float, ...]
    mean: float
    error: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Statistic:
        """Return the mean and its standard error, the standard deviation over the root of the number.

        >>> Statistic.of([1.0, 3.0]).error
        1.0
        """
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
        return cls(tuple(values), statistics.fmean(values), error)


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed alone.

    Attributes:
        settings: what distinguishes it from the other groups, by dotted key.
        runs: by their seeds.
        metrics: those that all of its runs have.
        repeated: runs with the seed of one in `runs`: they are no sample of their own, and are not counted.
    """

    settings: Mapping[str, Any]
    runs: tuple[Facts, ...]
    metrics: Mapping[str, Statistic]
    repeated: tuple[Facts, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Groups of runs, and the differences between all runs.

    Attributes:
        groups: in the order in which their first runs were given.
        metrics: the names that are shown.
        differences: of the strategy, code, data and environment.
    """

    groups: tuple[Group, ...]
    metrics: tuple[str, ...]
    differences: tuple[Difference, ...]


def compare(paths: Iterable[Path], metrics: Sequence[str] = ()) -> Comparison:
    """Compare runs.

    Args:
        paths: directories of runs, or folders of such directories.
        metrics: names such as `test/elbo`; by default ELBO, its terms and what else papers report of the first split
            that all runs have.

    Raises:
        UsageError: if a directory is no run's, there are fewer than two runs, x is not the same in all of them, or no
            run has a metric.
    """
    runs = [facts_of(path) for path in _runs_in(paths)]
    if len(runs) < 2:
        raise UsageError(f"compare needs at least two runs, but {len(runs)} was given")
    for run in runs[1:]:
        require_same_x(runs[0], run)
    found: dict[tuple[tuple[str, str], ...], list[Facts]] = {}
    for run in runs:
        key = tuple(sorted((name, repr(value)) for name, value in run.settings.items()))
        found.setdefault(key, []).append(run)
    grouped = [sorted(group, key=lambda run: int(run.record.config.get("seed", 0))) for group in found.values()]
    names = _names(runs, metrics)
    groups = tuple(_group(group, _distinct([one[0] for one in grouped], group[0]), names) for group in grouped)
    every = differences(*(run.record for run in runs))
    others = (one for one in every if one.part != "config" or one.key.partition(".")[0] == "strategy")
    return Comparison(groups, names, tuple(others))


def facts_of(path: Path) -> Facts:
    """Read what a run left.

    Raises:
        UsageError: if it is no run's directory, or has no checkpoint.
    """
    directory = RunDirectory.open(path)
    saved = checkpoints_of(directory.checkpoints)
    if not saved:
        raise UsageError(f"{path} has no checkpoint yet")
    tree = read_json(saved[-1] / "provenance.json", limit=LARGE)
    record = Provenance.from_tree({**tree, "config": read_toml(directory.config)})
    finished = kind_of(directory.summary) is not None
    step, metrics = _logged(directory.metrics)
    if finished:
        metrics |= _metrics_in(directory.summary)
    for split in SPLITS:  # what only an evaluation has; its ELBO may be of another number of samples
        metrics = _metrics_in(path / f"evaluation-{split}.json") | metrics
    return Facts(directory, record, step, finished, metrics)


def require_same_x(one: Facts, other: Facts) -> None:
    """Check that two runs model the same x: else their nats can't be compared.

    Raises:
        UsageError: if not; it says what differs.
    """
    found = sorted(differences(one.record, other.record), key=lambda difference: not difference.key.endswith(".name"))
    for difference in found:  # the name of another binarization says more than its options
        test = difference.part == "data" and difference.key.startswith("test.x")
        if test or (difference.part == "config" and difference.key.partition(".")[0] in OF_DATA):
            raise UsageError(
                f"{one.directory.path} and {other.directory.path} can't be compared: "
                f"{difference.name.removesuffix('.name')} is "
                f"{difference.values[0]!r} and {difference.values[1]!r}, so their ELBOs are of different data"
            )


def _runs_in(paths: Iterable[Path]) -> list[Path]:
    """Return directories of runs; of a folder without a config those in it."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir() and not (path / "config.toml").exists():
            found += sorted(one.parent for one in path.glob("*/config.toml"))
        else:
            found.append(path)
    return list(dict.fromkeys(found))


def _logged(path: Path) -> tuple[int, dict[str, float]]:
    """Return the step and the newest metrics of a log."""
    step = 0
    metrics: dict[str, float] = {}
    if kind_of(path) is not None:
        for row in (row for _, row in read_rows(path) if row is not None):
            step = row["step"]
            metrics |= {name: value for name, value in row.items() if "/" in name and value is not None}
    return step, metrics


def _metrics_in(path: Path) -> dict[str, float]:
    """Return the numbers in the table `metrics` of a JSON file; none if there is no file.

    Raises:
        FileError: if it can't be read, or has no such table.
    """
    if kind_of(path) is None:
        return {}
    metrics = read_json(path, limit=LARGE).get("metrics")
    if not isinstance(metrics, dict):
        raise FileError(f"{path}: it has no table 'metrics'")
    return {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))}


def _names(runs: Sequence[Facts], asked: Sequence[str]) -> tuple[str, ...]:
    every = dict.fromkeys(name for run in runs for name in run.metrics)
    for name in asked:
        if name not in every:
            raise UsageError(f"--metric {name}: no run has it; {nearest(name, every)}")
    if asked:
        return tuple(asked)
    split = next((one for one in SPLITS if all(f"{one}/elbo" in run.metrics for run in runs)), SPLITS[0])
    return tuple(name for name in (f"{split}/{one}" for one in SHOWN) if name in every)


def _distinct(firsts: Sequence[Facts], run: Facts) -> dict[str, Any]:
    """Return the settings of a run that are not the same in the first runs of all groups."""
    tables = [one.settings for one in firsts]
    own = run.settings
    keys = dict.fromkeys(key for table in tables for key in table)
    return {key: own.get(key) for key in keys if any(table.get(key) != tables[0].get(key) for table in tables)}


def _group(runs: Sequence[Facts], settings: Mapping[str, Any], names: Iterable[str]) -> Group:
    by_seed: dict[Any, Facts] = {}
    for run in runs:
        by_seed.setdefault(run.record.config.get("seed"), run)
    own = tuple(by_seed.values())
    metrics = {name: Statistic.of([run.metrics[name] for run in own]) for name in names if _all_have(own, name)}
    return Group(settings, own, metrics, tuple(run for run in runs if run not in own))


def _all_have(runs: Iterable[Facts], name: str) -> bool:
    return all(name in run.metrics for run in runs)
