"""Images per second on the network of Burda et al. 2015 with batches of 20, beside Keras's fit and a compiled loop.

    python benchmarks/burda_speed.py [--rounds 5] [--steps 2000] [--peers]

Each figure comes from a process of its own, and the contestants take turns. Ratios are taken round by round. With
--peers, PyTorch takes part, which gets an environment of its own in build/. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from contest import contest
from peers import torch_python

from vaeflow.data.sets import Folders
from vaeflow.data.sets.fetch import fetch

HERE = Path(__file__).parent


def contestants(steps: int, *, peers: bool) -> dict[str, list[str]]:
    loops, mnist = str(HERE / "burda_loops.py"), str(fetch("mnist", Folders.default()))
    ours = [sys.executable, str(HERE / "vaeflow_steps.py"), str(steps), "--recipe=burda-1"]
    return {
        "Keras fit": [sys.executable, loops, "fit", mnist, str(steps)],
        "plain loop": [sys.executable, loops, "plain", mnist, str(steps)],
        **({"PyTorch": [torch_python(), loops, "torch", mnist, str(steps)]} if peers else {}),
        "vaeflow": ours,
        "vaeflow, microbatches=1": [*ours, "microbatches=1"],
        "vaeflow, microbatches=4": [*ours, "microbatches=4"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2000, help="a multiple of 20")
    parser.add_argument("--peers", action="store_true", help="PyTorch as well; installs it into build/peers")
    options = parser.parse_args()
    contest(contestants(options.steps, peers=options.peers), options.rounds, options.steps)


if __name__ == "__main__":
    main()
