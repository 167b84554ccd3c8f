"""What saving costs a step of the article's network: none, beside the training as vaeflow does it, and waited for.

    python benchmarks/saving.py [--rounds 5] [--steps 60] [--every 20] [--disk FOLDER]

One process, one training state; the three ways take turns, in another order each round, and ratios are taken round by
round. The end of the last save is waited for and counted. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.data.sets import Folders
from vaeflow.plugins.registry import Registry
from vaeflow.training.setup import prepare

if TYPE_CHECKING:
    from vaeflow.training.checkpoints.background import BackgroundSaves
    from vaeflow.training.checkpoints.folder import CheckpointFolder
    from vaeflow.training.experiment import Experiment

WAYS = ("none", "beside training", "waited for")


@dataclass
class Contest:
    """What takes the steps, where it saves, and the step it is at."""

    experiment: Experiment
    folder: CheckpointFolder
    saves: BackgroundSaves
    step: int = 0

    def seconds_a_step(self, way: str, steps: int, every: int) -> float:
        """Take steps and save now and then; return the seconds."""
        started = time.perf_counter()
        for _ in range(0, steps, every):
            self.experiment.trainer.execute(self.step, every).numpy()
            self.step += every
            self._save(way)
        self.saves.committed(wait=True)
        return (time.perf_counter() - started) / steps

    def _save(self, way: str) -> None:
        from vaeflow.training.checkpoints.folder import Progress

        if way == "waited for":
            self.folder.save(self.experiment.state.arrays(), Progress(self.step))
        elif way == "beside training":
            self.saves.committed(wait=True)
            self.saves.save(self.experiment.state.arrays(), Progress(self.step))


def contest(disk: Path) -> Contest:
    from vaeflow.training.checkpoints.background import BackgroundSaves
    from vaeflow.training.checkpoints.folder import CheckpointFolder

    experiment = prepare(resolve(compose("mnist-2d", []), Registry.load()), Folders.default())
    folder = CheckpointFolder(disk / "checkpoints", keep=3, say=print)
    return Contest(experiment, folder, BackgroundSaves(folder, print))


def report(rounds: list[dict[str, float]], every: int) -> None:
    print("| saves | step, ms, median (lowest to highest) | ratio, median (lowest to highest) | a save costs, ms |")
    print("| --- " * 4 + "|")
    for way in WAYS:
        times = [1000 * one[way] for one in rounds]
        ratios = [one[way] / one["none"] for one in rounds]
        cost = statistics.median(1000 * every * (one[way] - one["none"]) for one in rounds)
        step = f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})"
        ratio = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        print(f"| {way} | {step} | {ratio} | {cost:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="a multiple of --every")
    parser.add_argument("--every", type=int, default=20, help="steps between two saves")
    parser.add_argument("--disk", type=Path, default=Path.cwd(), help="the folder below which checkpoints are written")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.disk) as folder:
        one = contest(Path(folder))
        for way in WAYS:
            one.seconds_a_step(way, options.every, options.every)  # compiles, and makes the folder
        rounds = []
        for number in range(options.rounds):
            order = WAYS[number % 3 :] + WAYS[: number % 3]
            rounds.append({way: one.seconds_a_step(way, options.steps, options.every) for way in order})
        size = sum(path.stat().st_size for path in next(Path(folder).glob("checkpoints/*")).iterdir()) / 1e6
        one.saves.close()
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, {options.rounds} rounds of {options.steps} steps")
    print(f"checkpoints of {size:.1f} MB, one every {options.every} steps\n")
    report(rounds, options.every)


if __name__ == "__main__":
    main()
