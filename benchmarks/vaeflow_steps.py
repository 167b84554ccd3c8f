"""Training steps of a recipe as `vaeflow train` takes them, without logs and evaluations.

    python benchmarks/vaeflow_steps.py STEPS [--recipe=NAME] [KEY=VALUE]...

Prints images per second, as a number.
"""

from __future__ import annotations

import sys
import time

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.data.sets import Folders
from vaeflow.plugins.registry import Registry
from vaeflow.training.loop import STEPS_PER_EXECUTION
from vaeflow.training.setup import prepare

WARM_UP = 20


def images_per_second(steps: int, settings: list[str], recipe: str = "mnist-2d") -> float:
    resolved = resolve(compose(recipe, settings), Registry.load())
    trainer = prepare(resolved, Folders.default()).trainer
    trainer.execute(0, WARM_UP)
    started = time.perf_counter()
    for first in range(WARM_UP, WARM_UP + steps, STEPS_PER_EXECUTION):
        trainer.execute(first, STEPS_PER_EXECUTION).numpy()
    return steps * resolved.config.batch_size / (time.perf_counter() - started)


if __name__ == "__main__":
    named = [word.removeprefix("--recipe=") for word in sys.argv[2:] if word.startswith("--recipe=")]
    print(images_per_second(int(sys.argv[1]), [word for word in sys.argv[2:] if "--" not in word], *named))
