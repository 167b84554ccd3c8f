"""Images per second on the article's network, in both precisions, beside a plain TensorFlow loop.

    python benchmarks/step_speed.py [--rounds 5] [--steps 100]

Each figure comes from a process of its own; the contestants take turns, so that a machine that slows down slows all of
them. Ratios are taken round by round. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from contest import contest

from vaeflow.data.sets import Folders
from vaeflow.data.sets.fetch import fetch

HERE = Path(__file__).parent


def contestants(steps: int) -> dict[str, list[str]]:
    mnist = str(fetch("mnist", Folders.default()))
    ours = [sys.executable, str(HERE / "vaeflow_steps.py"), str(steps)]
    return {
        "plain loop, float32": [sys.executable, str(HERE / "plain_loop.py"), mnist, str(steps)],
        "vaeflow, float32": ours,
        "vaeflow, mixed_bfloat16": [*ours, "precision=mixed_bfloat16"],
        "vaeflow, float32, microbatches=4": [*ours, "microbatches=4"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100, help="a multiple of 20")
    options = parser.parse_args()
    contest(contestants(options.steps), options.rounds, options.steps)


if __name__ == "__main__":
    main()
