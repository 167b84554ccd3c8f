"""Does each family of models end in the same bits on every topology, and killed and resumed elsewhere?

    python benchmarks/families.py OUT [--families NAME...] [--forked]

Each family is trained for 30 steps in 6 microbatches on each topology; once more on two replicas until its process
kills itself by SIGKILL, and resumed from there by Horovod. Runs are kept in OUT and not made again. They are started as
a user does, or with `--forked` by the fork server of tests/, which is three times as fast. Horovod and the packages of
`plugins/` must be installed.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from helpers.kill_callback import killing_at

STEPS = (
    *("batch_size=24", "microbatches=6", "steps=30", "checkpoint.every_steps=10"),
    *("log.tensorboard=false", "log.every_steps=10", "plots.draw=[]"),
)
DIGITS = "dataset={name='digits', train_examples=101, test_examples=32}"
SHAPES = "dataset={name='shapes', train_examples=101, test_examples=32, label='none'}"
COUNTS = "dataset={name='simulated-counts', examples=126, features=12}"
"""101 examples are batches of 24, 24, 24, 24 and 5. The models are small: most of a run is its start."""
MLP = ("mnist-mlp-20", DIGITS, "latent_size=3", "encoder.hidden=[8]", "decoder.hidden=[8]")
SMALL = ("latent_size=3", "encoder={name='mlp', hidden=[8]}", "decoder={name='mlp', hidden=[8]}")
LEVELS = "model.levels=[{latent_size=3, hidden=[8]}, {latent_size=2, hidden=[5]}]"
RESIDUAL = ("model.groups=[1, 2]", "model.channels=2", "model.width=6")
VQ = "model={name='vq', codes=8, code_size=4, width=8, prior_width=8, prior_layers=1, restart_below=0.5, decay=0.9}"
FACTOR = "objective={name='factor-vae', hidden=[16], discriminator_rate=0.01}"
FAMILIES = {
    "two stochastic layers": ("burda-2", DIGITS, LEVELS, "model.normalization=none"),
    "residual hierarchy": ("residual-mnist", DIGITS, *RESIDUAL),
    "VQ, codebook by averages, dead codes drawn again": ("vq-digits", DIGITS, VQ),
    "FactorVAE, two players": ("factor-shapes", SHAPES, *SMALL, FACTOR, "callbacks=[]"),
    "conditional": (*MLP, "condition.labels=true"),
    "IWAE, k = 5": (*MLP, "objective=iwae", "objective.samples=5"),
    "counts": ("counts-nb", COUNTS, "model={name='counts', hidden=[6]}"),
}
TOPOLOGIES = (("single", 1), ("mirrored", 2), ("mirrored", 3), ("multiworker", 2), ("horovod", 2), ("horovod", 3))


def topology(strategy: str, replicas: int) -> list[str]:
    """Return the settings of a strategy in one process."""
    return [f"strategy={strategy}", *([f"strategy.replicas={replicas}"] if strategy == "mirrored" else [])]


def command(strategy: str, replicas: int, run_dir: Path, settings: tuple[str, ...]) -> list[str]:
    """Return what a user would type to train."""
    if strategy in ("single", "mirrored"):
        return ["train", *settings, *topology(strategy, replicas), "--run-dir", str(run_dir)]
    how = ["--processes", str(replicas), "--strategy", strategy, "--run", "--run-dir", str(run_dir)]
    return ["launch", "local", *settings, *how]


def start(log: Path, program: str, *arguments: str) -> int:
    """Run a program with its output in a file; return its exit code."""
    with log.open("a") as file:
        return subprocess.run([program, *arguments], check=False, stdout=file, stderr=file).returncode


def state(run_dir: Path) -> str:
    """Return the sha256 of weights, optimizer slots and all other state of a finished run."""
    return json.loads((run_dir / "summary.json").read_text())["state_sha256"]


def trained(strategy: str, replicas: int, run_dir: Path, settings: tuple[str, ...]) -> str:
    """Train, unless that was done; return the state's hash."""
    log = Path(f"{run_dir}.log")
    if not (run_dir / "summary.json").exists():
        code = start(log, "vaeflow", *command(strategy, replicas, run_dir, settings))
        if code:
            raise SystemExit(f"exit code {code}: see {log}")
    return state(run_dir)


def resumed(run_dir: Path, settings: tuple[str, ...]) -> str:
    """Train on mirrored x2 until SIGKILL, resume on Horovod x3, unless that was done; return the state's hash."""
    log, plugin = Path(f"{run_dir}.log"), run_dir.parent / "kill.py"
    if (run_dir / "summary.json").exists():
        return state(run_dir)
    shutil.rmtree(run_dir, ignore_errors=True)
    plugin.write_text(killing_at(20, saved=10))
    settings = tuple(one for one in settings if not one.startswith("callbacks"))
    killing = ("callbacks=['kill']", f"--plugin={plugin}")
    code = start(log, "vaeflow", *command("mirrored", 2, run_dir, (*settings, *killing)))
    if code not in (-9, 128 + 9):
        raise SystemExit(f"not killed: see {log}")
    resume = ("vaeflow", "resume", str(run_dir), "strategy=horovod", f"--plugin={plugin}")
    if start(log, "horovodrun", "-np", "3", "--gloo", *resume):
        raise SystemExit(f"failed: see {log}")
    return state(run_dir)


def rows(out: Path, family: str) -> str:
    """Train a family everywhere; return its rows of the table."""
    recipe, *given = FAMILIES[family]
    settings = (recipe, *given, *STEPS)
    folder = out / family.split(",", maxsplit=1)[0].replace(" ", "-")
    folder.mkdir(exist_ok=True)
    found = {}
    for strategy, replicas in TOPOLOGIES:
        found[f"{strategy} x{replicas}"] = trained(strategy, replicas, folder / f"{strategy}-{replicas}", settings)
    found["mirrored x2, killed, horovod x3"] = resumed(folder / "killed", settings)
    hashes = set(found.values())
    if len(hashes) == 1:
        return f"| {family} | {'; '.join(found)} | `{hashes.pop()}` |"
    return "\n".join(f"| {family} | {where} | `{value}` DIFFERENT |" for where, value in found.items())


def programs(*, forked: bool) -> Path:
    """Return the folder of `vaeflow` and `horovodrun`: this Python's, or that of a fork server."""
    if not forked:
        return Path(sys.executable).parent
    from helpers.fork_server import end_all, server

    atexit.register(end_all)
    return server().programs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="directory of the runs")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="NAME")
    parser.add_argument("--forked", action="store_true", help="start programs by the fork server of tests/")
    options = parser.parse_args()
    os.environ["PATH"] = f"{programs(forked=options.forked)}{os.pathsep}{os.environ['PATH']}"
    options.out.mkdir(parents=True, exist_ok=True)
    print("| family | topologies | sha256 of the state |\n| --- | --- | --- |", flush=True)
    for family in options.families:
        print(rows(options.out.resolve(), family), flush=True)


if __name__ == "__main__":
    main()
