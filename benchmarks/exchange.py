"""What replicas cost: speed, efficiency, and what the exact sum costs beside the plain one, as Markdown tables.

    python benchmarks/exchange.py [--rounds 3] [--steps 40]

Steps of the article's network with a global batch of 100 on this machine's cores, however many replicas share them.
Each topology is a job, and the jobs take turns. In a job, steps with either sum take turns: both differentiate the same
microbatches, one a replica, with one thread an operation, so they differ in the sum alone. Horovod must be installed;
nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
LAUNCH = HERE.parent / "launch" / "local.sh"
TOPOLOGIES = [("single", 1), *((name, count) for count in (2, 4) for name in ("mirrored", "multiworker", "horovod"))]
ALL_CORES = ("single on all cores", 1)
CORES = len(os.sched_getaffinity(0))
BATCH = 100
Topology = tuple[str, int]
Found = dict[str, float]


def measure(strategy: str, replicas: int, steps: int) -> Found:
    """Return what rank 0 printed."""
    program = [sys.executable, str(HERE / "job_steps.py"), str(steps)]
    threads = CORES if (strategy, replicas) == ALL_CORES else 1
    settings = ["mnist-2d", f"microbatches={replicas}", f"threads={threads}"]
    strategy = strategy.partition(" ")[0]
    if strategy in ("single", "mirrored"):
        count = [f"strategy.replicas={replicas}"] if strategy == "mirrored" else []
        command = [*program, "train", *settings, f"strategy={strategy}", *count]
    else:
        command = [str(LAUNCH), "--processes", str(replicas), "--strategy", strategy, *settings]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "VAEFLOW": " ".join(program), "PATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    lines = [line[line.index("{") :] for line in done.stdout.splitlines() if '"plain_ms"' in line]
    if done.returncode or len(lines) != 1:
        raise SystemExit(f"{command} failed:\n{done.stdout}\n{done.stderr}")
    return json.loads(lines[0])


def speeds(rounds: list[dict[Topology, Found]]) -> None:
    titles = ("strategy", "replicas", "sum", "images/s", "efficiency", "step, ms", "compute, ms", "communication, ms")
    print(f"| {' | '.join(titles)} | sent, MB |")
    print("| --- " * (len(titles) + 1) + "|")
    for who in rounds[0]:
        for sum_ in ("plain", "exact"):
            ms, alone, sent = (
                median(one[who][key] for one in rounds) for key in (f"{sum_}_ms", "alone_ms", f"{sum_}_bytes")
            )
            efficiency = median(one[ALL_CORES]["plain_ms"] / one[who][f"{sum_}_ms"] for one in rounds)
            between = median(one[who][f"{sum_}_ms"] - one[who]["alone_ms"] for one in rounds)
            speed = f"{BATCH / ms * 1e3:.0f} | {efficiency:.2f}"
            cells = f"{speed} | {ms:.0f} | {alone:.0f} | {between:.0f} | {sent / 1e6:.1f}"
            print(f"| {who[0]} | {who[1]} | {sum_} | {cells} |")


def cost_of_exactness(rounds: list[dict[Topology, Found]]) -> None:
    print("\n| topology | exact over plain: step time, median (lowest to highest) | bytes sent |\n| --- | --- | --- |")
    for strategy, count in TOPOLOGIES:
        found = [one[strategy, count] for one in rounds]
        ratios = [one["exact_ms"] / one["plain_ms"] for one in found]
        sent = median(one["exact_bytes"] / max(one["plain_bytes"], 1.0) for one in found)
        more = f"{sent:.2f}" if strategy in ("multiworker", "horovod") else "none"
        print(f"| {strategy} x{count} | {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {more} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="a multiple of 10")
    options = parser.parse_args()
    rounds = []
    for _ in range(options.rounds):
        rounds.append({who: measure(*who, options.steps) for who in (ALL_CORES, *TOPOLOGIES)})
        print(".", end="", file=sys.stderr, flush=True)
    print(f"{platform.machine()}, {CORES} cores, {options.rounds} rounds of {options.steps} steps\n")
    speeds(rounds)
    cost_of_exactness(rounds)


if __name__ == "__main__":
    main()
