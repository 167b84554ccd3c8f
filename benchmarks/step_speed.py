"""Images a second on the article's network, in both precisions, beside a plain TensorFlow loop.

    python benchmarks/step_speed.py [--rounds 5] [--steps 100]

Each figure comes from a process of its own; the contestants take turns, so that a machine that slows down slows all of
them. Ratios are taken round by round. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from vaeflow.data.sets import Folders
from vaeflow.data.sets.fetch import fetch

HERE = Path(__file__).parent
PEER = "plain loop, float32"


def contestants(steps: int) -> dict[str, list[str]]:
    mnist = str(fetch("mnist", Folders.default()))
    ours = [str(HERE / "vaeflow_steps.py"), str(steps)]
    return {
        PEER: [str(HERE / "plain_loop.py"), mnist, str(steps)],
        "vaeflow, float32": ours,
        "vaeflow, mixed_bfloat16": [*ours, "precision=mixed_bfloat16"],
        "vaeflow, float32, microbatches=4": [*ours, "microbatches=4"],
    }


def measure(command: list[str]) -> float:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100, help="a multiple of 20")
    options = parser.parse_args()
    commands = contestants(options.steps)
    rounds = [{name: measure(command) for name, command in commands.items()} for _ in range(options.rounds)]
    print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {options.rounds} rounds of {options.steps} steps"
    )
    print(f"{'':34}{'images/s':>10}{'(lowest to highest)':>22}{'ratio':>8}{'(lowest to highest)':>22}")
    for name in commands:
        speeds = [one[name] for one in rounds]
        ratios = [one[name] / one[PEER] for one in rounds]
        spread = f"({min(speeds):.0f} to {max(speeds):.0f})"
        ratio_spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(
            f"{name:34}{statistics.median(speeds):>10.0f}{spread:>22}{statistics.median(ratios):>8.2f}{ratio_spread:>22}"
        )


if __name__ == "__main__":
    main()
