"""Contestants that take turns, each in a process of its own that prints images per second; and a table of them."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess


def measure(command: list[str]) -> float:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def contest(commands: dict[str, list[str]], rounds: int, steps: int) -> None:
    """Print a table of the commands; ratios are to the first one, round by round."""
    found = [{name: measure(command) for name, command in commands.items()} for _ in range(rounds)]
    peer, width = next(iter(commands)), max(map(len, commands)) + 2
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, {rounds} rounds of {steps} steps")
    print(f"{'':{width}}{'images/s':>10}{'(lowest to highest)':>22}{'ratio':>8}{'(lowest to highest)':>22}")
    for name in commands:
        speeds = [one[name] for one in found]
        ratios = [one[name] / one[peer] for one in found]
        spread, of_ratios = f"({min(speeds):.0f} to {max(speeds):.0f})", f"({min(ratios):.2f} to {max(ratios):.2f})"
        middle = f"{statistics.median(speeds):>10.0f}{spread:>22}{statistics.median(ratios):>8.2f}{of_ratios:>22}"
        print(f"{name:{width}}{middle}")
