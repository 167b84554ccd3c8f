"""Images per second on more data than a process may use memory, beside data that are resident.

    python benchmarks/large_data.py [--gigabytes 8] [--limit 4] [--rounds 3] [--steps 60] [RECIPE [KEY=VALUE]...]

It writes shards of random bytes into a temporary folder, and trains the recipe on them in a control group whose limit
counts the page cache, too: what was read is soon forgotten. The other contestant has the first 60,000 images, which
are resident. They take turns. It takes root, for the control group; nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from contest import contest
from tqdm import trange

STEPS = Path(__file__).parent / "vaeflow_steps.py"
SIDE, SHARD, RESIDENT = 28, 2**30, 60_000
JOIN = 'echo $$ > "$0/cgroup.procs" && exec "$@"'


def write(folder: Path, images: int, count: int) -> None:
    """Write shards of random images, the same for all but their first ones."""
    folder.mkdir()
    block = np.random.default_rng(0).integers(0, 256, (images // count, SIDE, SIDE), np.uint8)
    for number in trange(count, desc=folder.name, unit="shard"):
        block[0] = number
        path = folder / f"x_train-{number:05d}-of-{count:05d}.npy"
        np.save(path, block)
        with path.open("rb") as file:  # out of the page cache: it is read from the disk
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def control_group(limit: int) -> Path:
    """Make a control group with a limit of memory; versions 1 and 2."""
    root, name = Path("/sys/fs/cgroup"), "memory.max"
    if (root / "memory").is_dir():
        root, name = root / "memory", "memory.limit_in_bytes"
    group = root / f"vaeflow-{os.getpid()}"
    group.mkdir()
    (group / name).write_text(str(limit))
    return group


def peak(group: Path) -> int:
    """Return the most memory that the control group had, bytes."""
    names = ("memory.max_usage_in_bytes", "memory.peak")
    return next(int((group / name).read_text()) for name in names if (group / name).exists())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=int, default=8, help="of the data, GiB")
    parser.add_argument("--limit", type=int, default=4, help="of the process, GiB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60, help="a multiple of 20")
    parser.add_argument("recipe", nargs="?", default="mnist-2d")
    parser.add_argument("settings", nargs="*")
    options = parser.parse_args()
    group = control_group(options.limit * 2**30)
    try:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            write(folder / "resident", RESIDENT, 1)
            write(folder / "files", options.gigabytes * SHARD // SIDE**2, options.gigabytes)
            words = [sys.executable, str(STEPS), str(options.steps), f"--recipe={options.recipe}", "dataset=arrays"]
            trained = {
                name: [*words, f"dataset.path={folder / name}", *options.settings] for name in ("resident", "files")
            }
            of_files = f"{options.gigabytes} GiB in files, limit {options.limit} GiB"
            limited = ["bash", "-c", JOIN, str(group), *trained["files"]]
            contest({"resident": trained["resident"], of_files: limited}, options.rounds, options.steps)
            print(f"the control group had {peak(group) / 2**30:.2f} GiB at most, with the page cache")
    finally:
        group.rmdir()


if __name__ == "__main__":
    main()
