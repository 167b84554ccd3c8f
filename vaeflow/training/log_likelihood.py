"""Estimate the log-likelihood of a split: with progress, within a memory budget, and resumed if it was interrupted."""

from __future__ import annotations

import base64
import contextlib
import functools
import math
import statistics
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.engine.annealing import AnnealedSampler
from vaeflow.engine.importance import COLUMNS, ImportanceSampler
from vaeflow.errors import FileError, UsageError
from vaeflow.files.read import kind_of, read_json
from vaeflow.files.write import remove, write_json
from vaeflow.model.memory_estimate import forward_bytes
from vaeflow.runtime.console import warn
from vaeflow.runtime.memory import format_bytes, left_for_work

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vaeflow.distributed.strategies.processes import Processes
    from vaeflow.engine.importance import LogLikelihood
    from vaeflow.training.experiment import Experiment

SECONDS_PER_CALL = 1.0  # so that the bar moves and a signal is handled soon
MOST_SHARE = 64  # groups per replica and call
SECONDS_PER_SAVE = 20.0  # at most this work is lost by a kill
LARGEST = 2**28  # bytes of the file of results
CONCURRENT = 2  # tiles at a time if memory allows: one waits for no other's small operations


@dataclass(frozen=True)
class Request:
    """What is to be estimated.

    Attributes:
        split: `train`, `validation` or `test`.
        samples: K, the importance samples per example, or the chains.
        memory: bytes that the samples may take; None uses what is available.
        annealing_steps: T, the steps of a chain of annealed importance sampling; 0 for importance sampling.
    """

    split: str
    samples: int
    memory: float | None = None
    annealing_steps: int = 0


def log_likelihood_of(
    experiment: Experiment, request: Request, processes: Processes, unfinished: Path | None = None
) -> LogLikelihood:
    """Estimate log p(x) of each example of a split; all processes call this.

    Neither the memory budget, nor the number of replicas, nor an interruption changes a bit of the estimates.

    Args:
        experiment: with the weights.
        request: what is to be estimated.
        processes: of the job.
        unfinished: file of rank 0 that has the results of a call that was interrupted; None keeps none.

    Raises:
        UsageError: if there is no such split, memory does not suffice, or latents of the model are deterministic.
    """
    sampler = _sampler(experiment, request)
    key = {"weights": experiment.state.weights_sha256(), "tile": list(sampler.tile), **asdict(request), "memory": None}
    kept = _Kept(unfinished if processes.chief else None, key)
    processes.on_chief(kept.read)
    processes.share(kept.to_bytes, kept.from_bytes)
    from tqdm import tqdm

    total = experiment.batches[request.split].examples
    title = f"log-likelihood, {request.samples} samples"
    hidden = None if processes.chief else True
    share, seconds = 1, 0.0
    with tqdm(total=total, initial=kept.done, desc=title, unit="example", disable=hidden, dynamic_ncols=True) as bar:
        while kept.done < total:
            group = kept.done // sampler.tile.examples
            started = time.perf_counter()
            with kept.saved_if_stopped():
                found = sampler.results(group, share)
            seconds, before = time.perf_counter() - started, seconds
            kept.add(found)
            bar.update(len(found))
            if share == 1 and before:  # the first call was traced
                share = processes.on_chief(functools.partial(_share, seconds))
    kept.remove()
    return sampler.estimate(kept.columns)


def with_log_likelihood(
    result: dict[str, Any],
    experiment: Experiment,
    request: Request,
    processes: Processes,
    unfinished: Path | None = None,
) -> dict[str, Any]:
    """Return the figures of an evaluation and those of `log_likelihood_of`, which takes the other arguments.

    Args:
        result: see `vaeflow.training.evaluate.figures_of`.
        experiment: with the weights.
        request: what is to be estimated.
        processes: of the job.
        unfinished: as for `log_likelihood_of`.
    """
    found = log_likelihood_of(experiment, request, processes, unfinished)
    steps = {"annealing_steps": request.annealing_steps} if request.annealing_steps else {}
    metrics = result["metrics"] | figures(request.split, found)
    bits = math.log(2.0) * math.prod(experiment.model.x_shape)
    metrics[f"{request.split}/nll_bits_per_dimension"] = -found.mean / bits
    return {**result, "importance_samples": request.samples, "metrics": metrics, **steps}


def figures(split: str, found: LogLikelihood) -> dict[str, float]:
    """Return the estimates by their names in logs, in nats.

    `nll` is the mean of -log p(x); `nll_standard_error` its standard error over examples, `nll_monte_carlo_error` that
    of the estimate for these examples; `effective_samples` the median over examples.
    """
    values = {
        "nll": -found.mean,
        "nll_standard_error": found.standard_error,
        "nll_monte_carlo_error": found.monte_carlo_error,
        "effective_samples": statistics.median(found.effective.tolist()),
    }
    return {f"{split}/{name}": value for name, value in values.items()}


def _sampler(experiment: Experiment, request: Request) -> ImportanceSampler:
    batches, model = experiment.batches_of(request.split), experiment.model
    codes = [group.name for group in model.latents if group.deterministic]
    if codes:
        raise UsageError(
            f"importance samples: latents {', '.join(codes)} of this model are codes without noise; log p(x) can't be "
            "estimated by samples of them"
        )
    steps = request.annealing_steps
    sampler = (functools.partial(AnnealedSampler, steps=steps) if steps else ImportanceSampler)(
        experiment.strategy,
        model,
        batches,
        experiment.average,
        samples=request.samples,
        seed=experiment.config.seed,
        concurrent=CONCURRENT,
    )
    budget = left_for_work() if request.memory is None else request.memory
    here = experiment.strategy.replicas // experiment.strategy.processes
    tile = sampler.tile.examples * sampler.tile.samples * forward_bytes(model) * here
    if tile > budget:
        raise UsageError(
            f"{sampler.tile.samples} importance samples at once need about {format_bytes(tile)}, but "
            f"{format_bytes(budget)} {'are available' if request.memory is None else 'is the budget (--memory)'}"
        )
    sampler.concurrent = max(1, min(CONCURRENT, int(budget // tile)))
    return sampler


def _share(seconds: float) -> int:
    return max(1, min(MOST_SHARE, int(SECONDS_PER_CALL / seconds)))


class _Kept:
    """Results so far, on rank 0 also in a file."""

    def __init__(self, path: Path | None, key: dict[str, Any]) -> None:
        self._path, self._key = path, key
        self._parts = [np.zeros((0, COLUMNS))]
        self._saved = time.monotonic()

    @property
    def done(self) -> int:
        """The number of examples."""
        return sum(map(len, self._parts))

    @property
    def columns(self) -> np.ndarray:
        """The columns of the examples so far, [done, 2]."""
        return np.concatenate(self._parts)

    def to_bytes(self) -> bytes:
        """Return the columns as bytes."""
        return self.columns.astype("<f8").tobytes()

    def from_bytes(self, content: bytes) -> None:
        """Take the columns that `to_bytes` returned."""
        self._parts = [np.frombuffer(content, "<f8").reshape((-1, COLUMNS))]

    def read(self) -> None:
        """Take the results of an interrupted call, if they are of this one."""
        if self._path is None or kind_of(self._path) is None:
            return
        try:
            content = read_json(self._path, limit=LARGEST)
            key, columns = content["key"], base64.b64decode(content["columns"])
            if key == self._key:
                self.from_bytes(columns)
                warn(f"resuming the estimate at example {self.done}")
            else:
                warn(f"{self._path} is of other weights or samples; the estimate starts from the first example")
        except (FileError, KeyError, TypeError, ValueError) as error:
            warn(f"warning: {self._path} can't be read ({error}); the estimate starts from the first example")

    def add(self, found: np.ndarray) -> None:
        """Add results; write all of them from time to time."""
        self._parts.append(found)
        if time.monotonic() > self._saved + SECONDS_PER_SAVE:
            self._save()

    @contextlib.contextmanager
    def saved_if_stopped(self) -> Iterator[None]:
        """Write the results if an error or Ctrl-C ends the work inside."""
        try:
            yield
        except BaseException:
            self._save()
            raise

    def _save(self) -> None:
        if self._path is not None and self.done:
            columns = base64.b64encode(self.to_bytes()).decode()
            write_json(self._path, {"key": self._key, "columns": columns})
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Remove the file."""
        if self._path is not None:
            remove(self._path)
