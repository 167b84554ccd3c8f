"""Seconds until a command that needs no TensorFlow has answered, each in a process of its own.

python benchmarks/start_up.py [--rounds 10]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = (["--help"], ["plugins"], ["recipes"], ["train", "mnist-2d", "epochz=1"])
START = "import sys; from vaeflow.cli import main; sys.exit(main(sys.argv[1:]))"


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", START, *arguments], capture_output=True, check=False)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    for arguments in COMMANDS:
        taken = [seconds(arguments) for _ in range(rounds)]
        command = f"vaeflow {' '.join(arguments)}"
        print(f"{command:36}{statistics.median(taken):.2f} s ({min(taken):.2f} to {max(taken):.2f})")


if __name__ == "__main__":
    main()
