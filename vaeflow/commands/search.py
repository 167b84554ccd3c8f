"""A search for settings by Optuna: each trial is a run of its own, and a killed search resumes.

Optuna's journal in the folder of the sweep has the settings and values of all trials. What it proposes for a trial
depends on the search's seed, the trial's number, and the trials that have ended. So with one run at a time a search is
a function of the seed, whether it was interrupted or not.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaeflow.commands.sweep import RECORD, Point, values_of
from vaeflow.errors import UsageError, nearest
from vaeflow.files.read import LARGE, read_json
from vaeflow.files.write import write_json
from vaeflow.training.run_files.directory import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaeflow.commands.sweep import Sweep

NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER})(:log)?")
WHOLE = re.compile(r"-?\d+")
JOURNAL, RESULT = "search.journal", "search.json"


@dataclass(frozen=True)
class Range:
    """A setting that is searched.

    Attributes:
        key: of the config.
        low: the smallest value.
        high: the largest.
        log: whether values are spread evenly by their logarithms.
        whole: whether they are whole numbers.
        choices: a list of values instead, as texts.
    """

    key: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, setting: str) -> Range | None:
        """Return the range of a setting such as `learning_rate=1e-4..1e-2:log`, or None if it has one value.

        >>> Range.of("latent_size=2..50")
        Range(key='latent_size', low=2.0, high=50.0, log=False, whole=True, choices=())
        >>> Range.of("prior=standard-normal,vamp").choices, Range.of("epochs=3")
        (('standard-normal', 'vamp'), None)

        Raises:
            UsageError: if it is not KEY=VALUE, or the range is empty.
        """
        key, _, text = setting.partition("=")
        found = RANGE.fullmatch(text)
        if found is None:
            values = values_of(setting)
            choices = tuple(value.partition("=")[2] for value in values)
            return cls(key, choices=choices) if len(values) > 1 else None
        low, high, log = float(found[1]), float(found[2]), found[3] is not None
        if not low < high:
            raise UsageError(f"{setting}: the range is empty: {found[1]} is not smaller than {found[2]}")
        if log and low <= 0.0:
            raise UsageError(f"{setting}: a range by logarithms begins above 0")
        whole = all(WHOLE.fullmatch(found[number]) for number in (1, 2))
        return cls(key, low, high, log, whole)

    def ends(self) -> tuple[str, str]:
        """Return the setting at both ends."""
        first, last = (self.choices[0], self.choices[-1]) if self.choices else map(self._text, (self.low, self.high))
        return f"{self.key}={first}", f"{self.key}={last}"

    def suggested(self, trial: Any) -> str:
        """Return the setting that a trial of Optuna proposes."""
        if self.choices:
            return f"{self.key}={trial.suggest_categorical(self.key, self.choices)}"
        if self.whole:
            return f"{self.key}={trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)}"
        return f"{self.key}={self._text(trial.suggest_float(self.key, self.low, self.high, log=self.log))}"

    def _text(self, value: float) -> str:
        return str(int(value)) if self.whole else repr(float(value))


def require_optuna() -> None:
    """Check that Optuna is installed.

    Raises:
        UsageError: if not.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"--search optuna needs the package optuna ({error}): pip install 'vaeflow[optuna]'"
        ) from error


def ends_of(sweep: Sweep) -> list[Point]:
    """Return two runs, with all ranges at their first and at their last values, to check the config before a search.

    Raises:
        UsageError: if no setting is a range or a list.
    """
    ranges, fixed = _parted(sweep.settings)
    if not ranges:
        raise UsageError("no setting is a range, such as learning_rate=1e-4..1e-2:log or latent_size=2..50")
    both = zip(*(one.ends() for one in ranges), strict=True)
    return [Point((*fixed, *own), own, sweep.out / "trial") for own in both]


def _parted(settings: Sequence[str]) -> tuple[list[Range], list[str]]:
    found = [(setting, Range.of(setting)) for setting in settings]
    return [one for _, one in found if one is not None], [setting for setting, one in found if one is None]


class Search:
    """The trials of a search, as the queue of a sweep.

    Args:
        sweep: the ranges, and the folder.
        trials: how many in all, those that ended before included.
        metric: of a finished run, such as `validation/elbo`.
        minimize: whether smaller values are better.
        seed: of the search.
    """

    def __init__(self, sweep: Sweep, *, trials: int, metric: str, minimize: bool, seed: int) -> None:
        import optuna

        self.total, self._sweep = trials, sweep
        self._metric, self._minimize, self._seed = metric, minimize, seed
        self._ranges, self._fixed = _parted(sweep.settings)
        sweep.out.mkdir(parents=True, exist_ok=True)
        write_json(sweep.out / RECORD, sweep.record())
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        backend = optuna.storages.journal.JournalFileBackend(str(sweep.out / JOURNAL))
        self._study = optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name="search",
            direction="minimize" if minimize else "maximize",
            load_if_exists=True,
        )
        self._numbers: dict[Point, int] = {}
        self._waiting = [one.number for one in self._study.get_trials(deepcopy=False) if not one.state.is_finished()]

    @property
    def done(self) -> int:
        """How many trials have ended."""
        return sum(one.state.is_finished() for one in self._study.get_trials(deepcopy=False))

    def take(self) -> Point | None:
        """Return a trial that was interrupted, or a new one; None if there are enough."""
        import optuna

        trials = self._study.get_trials(deepcopy=False)
        number = self._waiting.pop(0) if self._waiting else len(trials)
        if number >= len(trials) and len(trials) >= self.total:
            return None
        self._study.sampler = optuna.samplers.TPESampler(seed=_seed_of(self._seed, number), constant_liar=True)
        trial = self._study.ask() if number >= len(trials) else optuna.Trial(self._study, trials[number]._trial_id)  # noqa: SLF001
        own = tuple(one.suggested(trial) for one in self._ranges)
        point = Point((*self._fixed, *own), own, self._sweep.out / f"trial-{number:04d}")
        self._numbers[point] = number
        return point

    def ended(self, point: Point, *, failed: bool) -> None:
        """Tell Optuna the value of a run, or that it failed, and write the result so far.

        Raises:
            UsageError: if the run has no such metric.
        """
        import optuna

        number = self._numbers[point]
        value = math.nan if failed else self._value(point)
        if math.isfinite(value):
            self._study.tell(number, value)
        else:
            self._study.tell(number, state=optuna.trial.TrialState.FAIL)
        write_json(self._sweep.out / RESULT, self.result())

    def result(self) -> dict[str, Any]:
        """Return the metric, the trials in their order, and the number of the best one."""
        trials = self._study.get_trials(deepcopy=False)
        ended = [one for one in trials if one.value is not None]
        sign = 1.0 if self._minimize else -1.0
        best = min(ended, key=lambda one: sign * one.value, default=None)
        return {
            "metric": self._metric,
            "best": None if best is None else best.number,
            "trials": [{"number": one.number, "settings": dict(one.params), "value": one.value} for one in trials],
        }

    def _value(self, point: Point) -> float:
        metrics: Mapping[str, Any] = read_json(RunDirectory(point.run_dir).summary, limit=LARGE).get("metrics", {})
        if self._metric not in metrics:
            hint = "; give the data a validation split, or another --metric" if "validation" in self._metric else ""
            raise UsageError(
                f"--metric {self._metric}: {point.run_dir} has no such metric{hint}; {nearest(self._metric, metrics)}"
            )
        return float(metrics[self._metric])


def _seed_of(seed: int, number: int) -> int:
    """Return the seed of one trial's proposal."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=4).digest(), "little")
