"""What it costs that a component comes from a plugin: the built-in encoder beside a copy of it, taking turns.

python benchmarks/plugin_cost.py [--rounds 5] [--steps 300]

The copy is a file with the same source and a hook, named by --plugin. Each training is a process of its own. Time
of a step is the median over log points but the first, which traces; memory is the largest resident set.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from vaeflow.components import networks

START = "import sys; from vaeflow.cli import main; sys.exit(main(sys.argv[1:]))"
HOOK = """
from vaeflow import Component, hookimpl

@hookimpl
def vaeflow_components():
    yield Component("encoder", "copied-mlp", mlp_encoder)
"""
SETTINGS = ("encoder.hidden=[400,400]", "decoder=mlp", "decoder.hidden=[400,400]", "log.tensorboard=false")


def run(folder: Path, encoder: list[str], steps: int) -> tuple[float, float]:
    """Return seconds a step and MiB."""
    run_dir = folder / f"run-{len(list(folder.iterdir()))}"
    fixed = [f"steps={steps}", "batch_size=100", "plots.draw=[]", "threads=1", *SETTINGS, "--run-dir", str(run_dir)]
    command = [sys.executable, "-c", START, "train", "mnist-2d", *encoder, *fixed]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    speeds = [row["train/examples_per_second"] for row in rows if row.get("train/examples_per_second")]
    return 100 / statistics.median(speeds[1:]), usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plugin = folder / "copied.py"
        plugin.write_text(inspect.getsource(networks) + HOOK)
        kinds = {"built in": ["encoder=mlp"], "plugin": ["encoder=copied-mlp", "--plugin", str(plugin)]}
        found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        for _ in range(arguments.rounds):
            for kind, encoder in kinds.items():
                found[kind].append(run(folder, encoder, arguments.steps))
    for kind, pairs in found.items():
        step, memory = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{kind:10} {1000 * step:7.3f} ms a step   {memory:7.1f} MiB")
    for index, what in enumerate(("time", "memory")):
        ratios = [p[index] / b[index] for b, p in zip(found["built in"], found["plugin"], strict=True)]
        print(
            f"{what:7} plugin over built in: {statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})"
        )


if __name__ == "__main__":
    main()
