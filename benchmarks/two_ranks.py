"""Images per second of two Horovod ranks with a core each, beside one process with one core.

    python benchmarks/two_ranks.py [--rounds 3] [--steps 40] [RECIPE [KEY=VALUE]...]

The two take turns; both have threads=1 and are pinned to their cores. Ratios are taken round by round. Nothing else
should run meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

STEPS = Path(__file__).parent / "vaeflow_steps.py"
PINNED = 'exec taskset -c "${HOROVOD_RANK:-0}" "$@"'


def images_per_second(words: list[str], ranks: int) -> float:
    launched = ["horovodrun", "-np", "2"] if ranks == 2 else []
    settings = ["threads=1", *(["strategy=horovod"] if ranks == 2 else [])]
    command = [*launched, "bash", "-c", PINNED, "rank", sys.executable, str(STEPS), *words, *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    last = [line for line in done.stdout.splitlines() if line.startswith("[0]") or ranks == 1][-1]
    return float(last.rpartition(":")[2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="a multiple of 20")
    parser.add_argument("recipe", nargs="?", default="mnist-2d")
    parser.add_argument("settings", nargs="*")
    options = parser.parse_args()
    words = [str(options.steps), f"--recipe={options.recipe}", *options.settings]
    rounds = [[images_per_second(words, ranks) for ranks in (1, 2)] for _ in range(options.rounds)]
    ratios = [two / one for one, two in rounds]
    one, two = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"one process {one:.0f} images/s, two ranks {two:.0f}: {statistics.median(ratios):.2f} times", end=" ")
    print(f"({min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} rounds)")


if __name__ == "__main__":
    main()
