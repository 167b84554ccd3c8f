"""Training steps of one process of a job: with the plain sum over replicas, with the exact one, and with none.

    python benchmarks/job_steps.py STEPS train RECIPE [KEY=VALUE]... [--strategy NAME]

The recipe's microbatches must be a number: all three differentiate the same ones. They take turns, ten steps each, as a
machine's speed changes. Rank 0 prints a line of JSON: milliseconds a step of each, and the bytes that a rank sent over
loopback in a step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.data.sets import Folders
from vaeflow.engine.reduce import PlainSum
from vaeflow.engine.step import Trainer
from vaeflow.plugins.registry import Registry
from vaeflow.training.setup import prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 10
SENT = Path("/sys/class/net/lo/statistics/tx_bytes")


@dataclass(frozen=True)
class Alone:
    """A strategy whose replicas keep to themselves: sums over replicas are each one's own."""

    inner: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def all_reduce_sum(self, tensors: Sequence[Any]) -> list[Any]:
        """Return the replica's own."""
        return list(tensors)

    def all_reduce_max(self, tensor: Any) -> Any:
        """Return the replica's own."""
        return tensor


def seconds_and_bytes_a_step(trainer: Trainer, first: int) -> tuple[float, float]:
    """Return what one of ten steps takes, and what all processes of this machine sent meanwhile."""
    sent, started = int(SENT.read_text()), time.perf_counter()
    trainer.execute(first, CHUNK).numpy()
    return (time.perf_counter() - started) / CHUNK, (int(SENT.read_text()) - sent) / CHUNK


def measure(steps: int, recipe: str, settings: list[str]) -> dict[str, float] | None:
    resolved = resolve(compose(recipe, settings), Registry.load())
    experiment = prepare(resolved, Folders.default())
    strategy, exact = experiment.strategy, experiment.trainer.step
    plain = replace(exact, reduction=PlainSum())
    trainers = {
        "plain": Trainer(plain),
        "exact": Trainer(exact),
        "alone": Trainer(replace(plain, strategy=Alone(strategy))),
    }
    for trainer in trainers.values():
        trainer.execute(0, CHUNK).numpy()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers}
    for first in range(CHUNK, CHUNK + steps, CHUNK):
        for name, trainer in trainers.items():
            found[name].append(seconds_and_bytes_a_step(trainer, first))
    result = {}
    for name, pairs in found.items():
        seconds, sent = (statistics.median(column) for column in zip(*pairs, strict=True))
        result |= {f"{name}_ms": 1e3 * seconds, f"{name}_bytes": sent / strategy.processes}
    trainers["plain"].execute(0, 1).numpy()  # a last sum, so that no process leaves the others
    chief = strategy.rank == 0
    strategy.close()
    return result if chief else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("steps", type=int, help=f"a multiple of {CHUNK}")
    parser.add_argument("command", choices=["train"])
    parser.add_argument("recipe")
    parser.add_argument("settings", nargs="*")
    parser.add_argument("--strategy")
    options = parser.parse_intermixed_args()
    strategy = [f"strategy={options.strategy}"] if options.strategy else []
    result = measure(options.steps, options.recipe, [*options.settings, *strategy])
    if result:
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
