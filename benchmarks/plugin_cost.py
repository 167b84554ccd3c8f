"""What it costs that a component comes from a plugin: the built-in encoder beside a copy of it, taking turns.

    python benchmarks/plugin_cost.py [--turns 600] [--processes 15]

The copy is a file with the same source and a hook, named by --plugin. Time: both models in this process, ten steps of
one and ten of the other, each pair in the other order. Memory: the largest resident set of whole runs of 20 steps, each
in a process of its own. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import inspect
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from vaeflow.components import networks
from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.data.sets import Folders
from vaeflow.plugins.registry import Registry
from vaeflow.training.setup import prepare

HOOK = """
from vaeflow import Component, hookimpl

@hookimpl
def vaeflow_components():
    yield Component("encoder", "copied-mlp", mlp_encoder)
"""
SETTINGS = ("encoder.hidden=[400,400]", "decoder=mlp", "decoder.hidden=[400,400]", "threads=1", "batch_size=100")
WITHOUT_FILES = ("steps=20", "plots.draw=[]", "log.tensorboard=false")
BUILT_IN, COPY = "encoder=mlp", "encoder=copied-mlp"
CHUNK = 10


def seconds(trainer: object, first: int) -> float:
    started = time.perf_counter()
    trainer.execute(first, CHUNK).numpy()
    return time.perf_counter() - started


def times(plugin: Path, turns: int) -> tuple[list[float], list[float]]:
    """Return seconds a step, built in and copied, turn by turn."""
    registry, trainers = Registry.load([str(plugin)]), []
    for encoder in (BUILT_IN, COPY):
        resolved = resolve(compose("mnist-2d", [encoder, *SETTINGS]), registry)
        trainers.append(prepare(resolved, Folders.default()).trainer)
        seconds(trainers[-1], 0)
    found: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns):
        for which in (0, 1) if turn % 2 else (1, 0):
            found[which].append(seconds(trainers[which], (1 + turn) * CHUNK) / CHUNK)
    return found


def memory(run_dir: Path, settings: list[str]) -> float:
    """Return the MiB of a run."""
    fixed = [*SETTINGS, *WITHOUT_FILES, "--run-dir", str(run_dir)]
    command = [sys.executable, "-m", "vaeflow", "train", "mnist-2d", *settings, *fixed]
    environ = {**os.environ, "MALLOC_ARENA_MAX": "1"}  # or the size jumps by 20 MiB with the threads that come first
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environ)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return usage.ru_maxrss / 1024


def memories(plugin: Path, processes: int) -> tuple[list[float], list[float]]:
    """Return MiB of runs, built in and copied."""
    kinds = ([BUILT_IN], [COPY, "--plugin", str(plugin)])
    rounds = [[memory(plugin.with_name(f"{i}-{n}"), kind) for n, kind in enumerate(kinds)] for i in range(processes)]
    return [one[0] for one in rounds], [one[1] for one in rounds]


def report(what: str, unit: str, built_in: list[float], copied: list[float]) -> None:
    ratios = [c / b for b, c in zip(built_in, copied, strict=True)]
    low, _, high = quantiles(ratios, n=4)
    print(f"| {what} | {median(built_in):.2f} {unit} | {median(copied):.2f} {unit} | ", end="")
    print(f"{median(copied) / median(built_in):.4f} | {median(ratios):.4f} ({low:.4f} to {high:.4f}) |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=600)
    parser.add_argument("--processes", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        plugin = Path(name) / "copied.py"
        plugin.write_text(inspect.getsource(networks) + HOOK)
        steps = times(plugin, arguments.turns)
        resident = memories(plugin, arguments.processes)
    print(
        "| | built in, median | plugin, median | ratio of medians | ratio, median (quartiles) |\n" + "| --- " * 5 + "|"
    )
    report("step", "ms", *([1e3 * one for one in column] for column in steps))
    report("largest resident set", "MiB", *resident)


if __name__ == "__main__":
    main()
