"""Is a run the same on every topology? Trains each case on each of them and compares the sha256 of the whole state.

    python benchmarks/equivalence.py OUT [--cases NAME...]

Runs are kept in OUT and not made again, so it can be stopped and called once more. They are started as a user does, by
`vaeflow train` and `vaeflow launch local`. Horovod must be installed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.data.sets import Folders
from vaeflow.data.sets.content import read_content
from vaeflow.data.sets.fetch import fetch

if TYPE_CHECKING:
    from collections.abc import Iterator

VAEFLOW = Path(sys.executable).parent / "vaeflow"
EPOCH = ("epochs=1", "log.tensorboard=false")
SHORT = ("steps=50", "log.tensorboard=false", "log.every_steps=10")
MLP = ("encoder=mlp", "decoder=mlp")
BATCH_NORMALIZATION = (*MLP, "encoder.normalization=batch", "decoder.normalization=batch")

# Settings, the number of training digits (None: all), and topologies as (strategy, replicas).
FEW = (("single", 1), ("mirrored", 2), ("multiworker", 2), ("horovod", 2), ("horovod", 3))
FOUR = (("single", 1), ("mirrored", 2), ("mirrored", 4), ("multiworker", 2), ("horovod", 2), ("horovod", 4))
TWELVE = (("single", 1), ("mirrored", 2), ("horovod", 3), ("mirrored", 4))
CASES = {
    "epoch of mnist-2d, 4 microbatches": (("microbatches=4", *EPOCH), None, FOUR),
    "epoch of mnist-2d, 12 microbatches": (("microbatches=12", *EPOCH), None, TWELVE),
    "1,050 examples: a short last batch": (("microbatches=4", *SHORT), 1050, FEW),
    "1,001 examples: a last batch of one": (("microbatches=4", *SHORT), 1001, FEW),
    "5 samples of z per example": (("microbatches=4", "objective.samples=5", *SHORT), 1000, FEW),
    "dynamic binarization": (("microbatches=4", "binarization=dynamic", *SHORT), 1000, FEW),
    "clipping at norm 5": (("microbatches=4", "clip_norm=5.0", *SHORT), 1000, FEW),
    "EMA": (("microbatches=4", "ema=0.99", *SHORT), 1000, FEW),
    "accumulation: 12 microbatches": (("microbatches=12", *SHORT), 1000, FEW),
    "batch normalization": (("microbatches=4", *BATCH_NORMALIZATION, *SHORT), 1050, FEW),
    "mixed_bfloat16": (("microbatches=4", "precision=mixed_bfloat16", *SHORT), 1000, FEW),
}


def command(strategy: str, replicas: int, run_dir: Path, settings: list[str]) -> list[str]:
    """Return what a user would type."""
    if strategy in ("single", "mirrored"):
        count = [f"strategy.replicas={replicas}"] if strategy == "mirrored" else []
        return ["train", "mnist-2d", *settings, f"strategy={strategy}", *count, "--run-dir", str(run_dir)]
    how = ["--processes", str(replicas), "--strategy", strategy, "--run", "--run-dir", str(run_dir)]
    return ["launch", "local", "mnist-2d", *settings, *how]


def fingerprint(run_dir: Path, arguments: list[str]) -> str:
    """Train, unless that was done, and return the sha256 of weights, optimizer slots and all other state."""
    summary = run_dir / "summary.json"
    if not summary.exists():
        with Path(f"{run_dir}.log").open("w") as log:
            subprocess.run([VAEFLOW, *arguments], check=True, stdout=log, stderr=log)
    return json.loads(summary.read_text())["state_sha256"]


def data_settings(out: Path, count: int | None) -> list[str]:
    """Return settings for the first training digits of MNIST and 500 test digits, or for all of it."""
    if count is None:
        return []
    path = out / f"digits-{count}.npz"
    if not path.exists():
        x_train, y_train, x_test, y_test = read_content(fetch("mnist", Folders.default()))
        np.savez(path, x_train=x_train[:count], y_train=y_train[:count], x_test=x_test[:500], y_test=y_test[:500])
    return ["dataset=arrays", f"dataset.path={path}"]


def rows(out: Path, case: str) -> Iterator[str]:
    """Train a case on its topologies; yield the table's rows."""
    settings, count, topologies = CASES[case]
    found = {}
    for strategy, replicas in topologies:
        run_dir = out / case.replace(" ", "-").replace(",", "").replace(":", "") / f"{strategy}-{replicas}"
        run_dir.parent.mkdir(exist_ok=True)
        arguments = command(strategy, replicas, run_dir, [*data_settings(out, count), *settings])
        found[f"{strategy} x{replicas}"] = fingerprint(run_dir, arguments)
    verdict = "equal" if len(set(found.values())) == 1 else "DIFFERENT"
    yield from (f"| {case} | {where} | `{value}` | {verdict} |" for where, value in found.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="directory of the runs")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print("| case | topology | sha256 of the state | |\n| --- | --- | --- | --- |", flush=True)
    for case in options.cases:
        for row in rows(options.out.resolve(), case):
            print(row, flush=True)


if __name__ == "__main__":
    main()
