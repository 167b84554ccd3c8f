"""What replicas cost: speed, efficiency, and what the exact sum costs beside the plain one, as Markdown tables.

    python benchmarks/exchange.py [--rounds 3] [--steps 40]

Steps of the article's network with a global batch of 100 on this machine's cores, however many replicas share them. The
contestants take turns. Both sums of a topology differentiate the same microbatches, one a replica, with one thread an
operation: they differ in the sum alone. Horovod must be installed; nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
LAUNCH = HERE.parent / "launch" / "local.sh"
TOPOLOGIES = [(strategy, count) for count in (2, 4) for strategy in ("mirrored", "multiworker", "horovod")]
PEER = ("single", 1, "all cores")
Contestant = tuple[str, int, str]


def contestants() -> list[Contestant]:
    return [PEER, *((*topology, sum_) for topology in [("single", 1), *TOPOLOGIES] for sum_ in ("plain", "exact"))]


def measure(strategy: str, replicas: int, sum_: str, steps: int) -> dict[str, float]:
    """Return what rank 0 printed."""
    program = [sys.executable, str(HERE / "job_steps.py"), str(steps)]
    settings = ["mnist-2d", f"microbatches={replicas if sum_ == 'exact' else 'auto'}"]
    if sum_ != "all cores":
        settings.append("threads=1")
    if strategy in ("single", "mirrored"):
        count = [f"strategy.replicas={replicas}"] if strategy == "mirrored" else []
        command = [*program, "train", *settings, f"strategy={strategy}", *count]
    else:
        command = [str(LAUNCH), "--processes", str(replicas), "--strategy", strategy, *settings]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "VAEFLOW": " ".join(program), "PATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    lines = [line[line.index("{") :] for line in done.stdout.splitlines() if '"step_ms"' in line]
    if done.returncode or len(lines) != 1:
        raise SystemExit(f"{command} failed:\n{done.stdout}\n{done.stderr}")
    return json.loads(lines[0])


def speeds(rounds: list[dict[Contestant, dict[str, float]]]) -> None:
    print(
        "| strategy | replicas | sum | images/s | efficiency | step, ms | compute, ms | communication, ms | sent, MB |"
    )
    print("| --- " * 9 + "|")
    for who in rounds[0]:
        of = {key: statistics.median(one[who][key] for one in rounds) for key in rounds[0][who]}
        efficiency = statistics.median(one[who]["images_per_second"] / one[PEER]["images_per_second"] for one in rounds)
        between = statistics.median(one[who]["step_ms"] - one[who]["alone_ms"] for one in rounds)
        times = f"{of['step_ms']:.0f} | {of['alone_ms']:.0f} | {between:.0f}"
        speed = f"{of['images_per_second']:.0f} | {efficiency:.2f}"
        print(f"| {' | '.join(map(str, who))} | {speed} | {times} | {of['bytes_a_rank'] / 1e6:.1f} |")


def cost_of_exactness(rounds: list[dict[Contestant, dict[str, float]]]) -> None:
    print("\n| topology | exact over plain: step time, median (lowest to highest) | bytes sent |\n| --- | --- | --- |")
    for strategy, count in [("single", 1), *TOPOLOGIES]:
        pairs = [(one[strategy, count, "exact"], one[strategy, count, "plain"]) for one in rounds]
        ratios = [exact["step_ms"] / plain["step_ms"] for exact, plain in pairs]
        sent = [exact["bytes_a_rank"] / max(plain["bytes_a_rank"], 1.0) for exact, plain in pairs]
        more = f"{statistics.median(sent):.2f}" if strategy in ("multiworker", "horovod") else "none"
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {strategy} x{count} | {statistics.median(ratios):.2f} {spread} | {more} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="a multiple of 10")
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        rounds.append({who: measure(*who, options.steps) for who in contestants()})
        print(".", end="", file=sys.stderr, flush=True)
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, {options.rounds} rounds of {options.steps} steps\n")
    speeds(rounds)
    cost_of_exactness(rounds)


if __name__ == "__main__":
    main()
