"""Images a second on the network of Burda et al. 2015 with batches of 20, beside Keras's fit and a compiled loop.

    python benchmarks/burda_speed.py [--rounds 5] [--steps 2000] [--torch PYTHON]

Each figure comes from a process of its own, and the contestants take turns. Ratios are taken round by round. With
--torch, a Python that has PyTorch, its loop takes part. Nothing else should run meanwhile.
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
PEER = "Keras fit"


def contestants(steps: int, torch: str | None) -> dict[str, list[str]]:
    loops, mnist = str(HERE / "burda_loops.py"), str(fetch("mnist", Folders.default()))
    ours = [sys.executable, str(HERE / "vaeflow_steps.py"), str(steps), "--recipe=burda-1"]
    return {
        PEER: [sys.executable, loops, "fit", mnist, str(steps)],
        "plain loop": [sys.executable, loops, "plain", mnist, str(steps)],
        **({"PyTorch": [torch, loops, "torch", mnist, str(steps)]} if torch else {}),
        "vaeflow": ours,
        "vaeflow, microbatches=1": [*ours, "microbatches=1"],
        "vaeflow, microbatches=4": [*ours, "microbatches=4"],
    }


def measure(command: list[str]) -> float:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2000, help="a multiple of 20")
    parser.add_argument("--torch", metavar="PYTHON", help="an interpreter that has PyTorch and NumPy")
    options = parser.parse_args()
    commands = contestants(options.steps, options.torch)
    rounds = [{name: measure(command) for name, command in commands.items()} for _ in range(options.rounds)]
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {options.rounds} rounds, {options.steps} steps")
    print(f"{'':26}{'images/s':>10}{'(lowest to highest)':>22}{'ratio':>8}{'(lowest to highest)':>22}")
    for name in commands:
        speeds = [one[name] for one in rounds]
        ratios = [one[name] / one[PEER] for one in rounds]
        spread, of_ratios = f"({min(speeds):.0f} to {max(speeds):.0f})", f"({min(ratios):.2f} to {max(ratios):.2f})"
        middle = f"{statistics.median(speeds):>10.0f}{spread:>22}{statistics.median(ratios):>8.2f}{of_ratios:>22}"
        print(f"{name:26}{middle}")


if __name__ == "__main__":
    main()
