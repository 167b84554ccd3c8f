"""Training steps of one process of a job, with and without the sums over replicas.

    python benchmarks/job_steps.py STEPS train RECIPE [KEY=VALUE]... [--strategy NAME]

Rank 0 prints a line of JSON: images a second, milliseconds a step, milliseconds of a step that adds nothing over
replicas (so no replica waits for another), and the bytes that a rank sent over loopback in a step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.config_layers import compose
from vaeflow.config_resolve import resolve
from vaeflow.data import Folders
from vaeflow.engine.step import Trainer
from vaeflow.plugins.registry import Registry
from vaeflow.start import prepare

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


def seconds_a_step(trainer: Trainer, first: int) -> float:
    started = time.perf_counter()
    trainer.chunk(first, CHUNK).numpy()
    return (time.perf_counter() - started) / CHUNK


def measure(steps: int, recipe: str, settings: list[str]) -> dict[str, float] | None:
    resolved = resolve(compose(recipe, settings), Registry.load())
    experiment = prepare(resolved, Folders.default())
    together = experiment.trainer
    alone = Trainer(replace(together.step, strategy=Alone(experiment.strategy)))
    for trainer in (together, alone):
        trainer.chunk(0, CHUNK).numpy()
    found, sent = [], 0
    for first in range(CHUNK, CHUNK + steps, CHUNK):  # taking turns, since the machine's speed changes
        before = int(SENT.read_text())
        whole = seconds_a_step(together, first)
        sent += int(SENT.read_text()) - before
        found.append((whole, seconds_a_step(alone, first)))
    whole, own = (statistics.median(column) for column in zip(*found, strict=True))
    strategy = experiment.strategy
    result = {
        "images_per_second": resolved.config.batch_size / whole,
        "step_ms": 1e3 * whole,
        "alone_ms": 1e3 * own,
        "bytes_a_rank": sent / len(found) / CHUNK / strategy.processes,
    }
    together.chunk(0, 1).numpy()  # a last sum, so that no process leaves the others
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
