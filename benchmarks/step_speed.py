"""Images per second on the article's network, in both precisions, beside the loops of `article_loops.py`.

    python benchmarks/step_speed.py [--rounds 5] [--steps 100] [--peers]

Each figure comes from a process of its own; the contestants take turns, so that a machine that slows down slows all of
them. Ratios are taken round by round, to the article's loop. With --peers, Keras's fit, a TensorFlow loop by an expert
and PyTorch take part, which gets an environment of its own in build/. Nothing else should run meanwhile.
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
    mnist = str(fetch("mnist", Folders.default()))
    ours = [sys.executable, str(HERE / "vaeflow_steps.py"), str(steps)]

    def loop(name: str, python: str = sys.executable) -> list[str]:
        return [python, str(HERE / "article_loops.py"), name, mnist, str(steps)]

    others: dict[str, list[str]] = {}
    if peers:
        torch = torch_python()
        others = {
            "Keras fit, float32": loop("fit"),
            "TensorFlow by hand, float32": loop("hand"),
            "PyTorch, float32": loop("torch", torch),
            "TensorFlow by hand, bfloat16": loop("hand-bfloat16"),
            "PyTorch, bfloat16": loop("torch-bfloat16", torch),
        }
    return {
        "the article's loop, float32": loop("plain"),
        **others,
        "vaeflow, float32": ours,
        "vaeflow, mixed_bfloat16": [*ours, "precision=mixed_bfloat16"],
        "vaeflow, float32, microbatches=4": [*ours, "microbatches=4"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100, help="a multiple of 20")
    parser.add_argument("--peers", action="store_true", help="other loops as well; installs PyTorch into build/peers")
    options = parser.parse_args()
    contest(contestants(options.steps, peers=options.peers), options.rounds, options.steps)


if __name__ == "__main__":
    main()
