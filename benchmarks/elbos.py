"""Test ELBOs by epoch of runs that differ in their seed alone, as a Markdown table.

python benchmarks/elbos.py runs/float32-*  [--epochs 1 5 10 20]
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path


def elbos(run: Path) -> dict[int, float]:
    """Return the test ELBO in nats by epoch."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {round(row["epoch"]): row["test/elbo"] for row in rows if "test/elbo" in row}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--epochs", nargs="+", type=int, help="all by default")
    parser.add_argument("--last", type=int, default=5, help="epochs at the end to take the mean of")
    options = parser.parse_args()
    found = {run.name: elbos(run) for run in options.runs}
    shared = set.intersection(*(set(one) for one in found.values()))
    print(f"| epoch | {' | '.join(found)} | mean | highest minus lowest |")
    print("| --- " * (len(found) + 3) + "|")
    for epoch in sorted(options.epochs or shared):
        values = [one[epoch] for one in found.values()]
        cells = " | ".join(f"{value:.2f}" for value in values)
        spread = f"{max(values) - min(values):.2f}"
        print(f"| {epoch} | {cells} | {statistics.mean(values):.2f} | {spread} |")
    best = [max(one.values()) for one in found.values()]
    last = [statistics.mean(one[epoch] for epoch in sorted(shared)[-options.last :]) for one in found.values()]
    print(
        f"| mean of last {options.last} | {' | '.join(f'{b:.2f}' for b in last)} | {statistics.mean(last):.2f} "
        f"| {max(last) - min(last):.2f} |"
    )
    print(
        f"| best | {' | '.join(f'{b:.2f}' for b in best)} | {statistics.mean(best):.2f} | {max(best) - min(best):.2f} |"
    )


if __name__ == "__main__":
    main()
