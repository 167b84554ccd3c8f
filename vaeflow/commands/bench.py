"""Measure training: examples per second, the parts of a step, memory, and the use of the arithmetic units."""

from __future__ import annotations

import itertools
import resource
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from vaeflow.distributed.job.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vaeflow.config.resolve import Resolved
    from vaeflow.data.sets import Folders
    from vaeflow.engine.step_parts import StepParts
    from vaeflow.training.experiment import Experiment

PARTS = ("input", "forward", "backward", "exchange")
"""In the order of a step; see `vaeflow.engine.step_parts`. Each is measured with those before it."""

SIDE = 2048
"""Rows and columns of the matrices whose product sets the ceiling."""


@dataclass(frozen=True)
class Measured:
    """What was measured of a recipe on this machine.

    Attributes:
        recipe: its name.
        precision: of the networks.
        strategy: name of the strategy.
        replicas: their number.
        microbatches: of a step.
        threads: per operation.
        batch_size: the global batch, examples.
        examples_per_second: of each round.
        milliseconds: of a step, and of its parts (`PARTS` and `update`), medians over rounds.
        build_seconds: until the model and the data are there.
        first_seconds: of the first execution, most of it tracing.
        memory: largest resident memory of this process, bytes.
        operations: floating-point operations per example.
        ceiling: operations per second of a product of matrices of `SIDE` rows and columns, in this precision.
    """

    recipe: str
    precision: str
    strategy: str
    replicas: int
    microbatches: int
    threads: int
    batch_size: int
    examples_per_second: list[float]
    milliseconds: dict[str, float]
    build_seconds: float
    first_seconds: float
    memory: int
    operations: int
    ceiling: float

    @property
    def speed(self) -> float:
        """The median of `examples_per_second`."""
        return statistics.median(self.examples_per_second)

    @property
    def utilization(self) -> float:
        """The share of the ceiling; replicas on CPUs share the cores that the ceiling was measured with."""
        return self.speed * self.operations / self.ceiling

    def record(self) -> dict[str, Any]:
        """Return all figures, for JSON."""
        return {**asdict(self), "median_examples_per_second": self.speed, "utilization": self.utilization}

    def lines(self) -> list[str]:
        """Return a report."""
        lowest, highest = min(self.examples_per_second), max(self.examples_per_second)
        rounds = _counted(len(self.examples_per_second), "round")
        cut = _counted(self.microbatches, "microbatch", "es")
        threads = _counted(self.threads, "thread") if self.threads else "all threads"
        step = self.milliseconds["step"]
        parts = [f"{name} {ms:.2f} ({ms / step:.0%})" for name, ms in self.milliseconds.items() if name != "step"]
        facts = {
            "recipe": f"{self.recipe}: {self.precision}, batch {self.batch_size} in {cut}, {self.strategy}, "
            f"{_counted(self.replicas, 'replica')}, {threads}",
            "examples/s": f"{self.speed:,.0f} ({lowest:,.0f} to {highest:,.0f} in {rounds})",
            "step": f"{step:.2f} ms: {', '.join(parts)}",
            "start": f"{self.build_seconds:.1f} s to build, {self.first_seconds:.1f} s for the first execution",
            "memory": f"{self.memory / 2**20:,.0f} MiB at most in this process",
            "arithmetic": f"{self.operations / 1e6:.3g} MFLOP per example; {self.utilization:.0%} of the "
            f"{self.ceiling / 1e9:,.0f} GFLOP/s of a {SIDE} x {SIDE} matrix product",
        }
        return [f"{name:12}{fact}" for name, fact in facts.items()]


def _counted(count: int, thing: str, plural: str = "s") -> str:
    return f"{count} {thing}{plural if count > 1 else ''}"


def bench(resolved: Resolved, folders: Folders, *, rounds: int, steps: int, profile: Path | None = None) -> Measured:
    """Measure a recipe: all parts in turn, round by round, since a machine's speed changes.

    Args:
        resolved: the config and its components.
        folders: of data sets.
        rounds: how often each part is measured.
        steps: of each measurement.
        profile: folder for TensorFlow's profile of one more round; None makes none.

    Raises:
        VaeflowError: as before a training.
    """
    from vaeflow.training.setup import prepare

    began = time.perf_counter()
    experiment = prepare(resolved, folders)
    build = time.perf_counter() - began
    trainer = experiment.trainer
    from vaeflow.engine.step_parts import StepParts  # TensorFlow is quiet once it has been started
    from vaeflow.training.loop import STEPS_PER_EXECUTION

    first = _seconds(lambda: trainer.execute(0, STEPS_PER_EXECUTION).numpy())
    parts = StepParts(trainer.step)

    def train() -> None:
        for start in range(0, steps, STEPS_PER_EXECUTION):
            trainer.execute(start, min(STEPS_PER_EXECUTION, steps - start)).numpy()

    calls = {name: _call(parts, name, steps) for name in PARTS} | {"step": train}
    seconds = _rounds(calls, rounds)
    if profile is not None:
        _profile(train, profile)
    return _measured(resolved, experiment, parts, seconds, steps=steps, start=(build, first))


def _rounds(calls: dict[str, Callable[[], None]], rounds: int) -> list[dict[str, float]]:
    """Return the seconds of each call, round by round, after one round that compiles."""
    from tqdm import tqdm

    hidden = True if Job.current().rank else None  # None: unless it is a terminal
    with tqdm(total=(rounds + 1) * len(calls), desc="bench", disable=hidden, leave=False) as bar:

        def timed(name: str) -> float:
            bar.set_postfix_str(name)
            taken = _seconds(calls[name])
            bar.update()
            return taken

        return [{name: timed(name) for name in calls} for _ in range(rounds + 1)][1:]


def _measured(
    resolved: Resolved,
    experiment: Experiment,
    parts: StepParts,
    seconds: list[dict[str, float]],
    *,
    steps: int,
    start: tuple[float, float],
) -> Measured:
    import tensorflow as tf

    config, step = resolved.config, experiment.trainer.step
    unit = 1024 if sys.platform.startswith("linux") else 1  # of ru_maxrss, bytes
    return Measured(
        recipe=config.name,
        precision=config.precision,
        strategy=step.strategy.name,
        replicas=step.strategy.replicas,
        microbatches=step.microbatches.count,
        threads=tf.config.threading.get_intra_op_parallelism_threads(),
        batch_size=config.batch_size,
        examples_per_second=[steps * config.batch_size / one["step"] for one in seconds],
        milliseconds=_milliseconds(seconds, steps),
        build_seconds=start[0],
        first_seconds=start[1],
        memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        operations=parts.operations(),
        ceiling=ceiling(tf.bfloat16 if "bfloat16" in config.precision else tf.float32),
    )


def _milliseconds(seconds: list[dict[str, float]], steps: int) -> dict[str, float]:
    """Return the step's time and what each part adds to the parts before it."""
    until = {name: 1e3 * statistics.median(one[name] for one in seconds) / steps for name in seconds[0]}
    ends = [0.0, *(until[name] for name in PARTS), until["step"]]
    added = [max(0.0, end - before) for before, end in itertools.pairwise(ends)]
    return {"step": until["step"], **dict(zip((*PARTS, "update"), added, strict=True))}


def ceiling(dtype: Any, repeats: int = 5) -> float:
    """Return the floating-point operations per second of a product of two square matrices, the best of some repeats."""
    import tensorflow as tf

    a = tf.cast(tf.random.stateless_normal((SIDE, SIDE), (0, 0)), dtype)
    _product(a)
    return 2 * SIDE**3 / min(_seconds(lambda: _product(a)) for _ in range(repeats))


def _product(a: Any) -> None:
    (a @ a).numpy()


def _call(parts: StepParts, name: str, steps: int) -> Callable[[], None]:
    return lambda: parts.execute(name, 0, steps)


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _profile(call: Callable[[], None], folder: Path) -> None:
    import tensorflow as tf

    tf.profiler.experimental.start(str(folder))
    try:
        call()
    finally:
        tf.profiler.experimental.stop()
