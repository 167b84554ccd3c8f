"""What it costs that ranks compare what a run depends on: seconds for the fingerprints, and for the meeting itself.

python benchmarks/agreement.py [--gigabytes 8] [--folder /tmp] [--rounds 5]

A file of uint8 images of 64 x 64 x 3 is written to the folder, measured once as a new process finds it and then warm,
and removed. The meeting is that of two processes over loopback, without what they hand in.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.contracts import Dataset, Split
from vaeflow.data.sets import Folders
from vaeflow.data.sets.npy import open_npy
from vaeflow.distributed.job.first_meeting import MeetingPlace
from vaeflow.distributed.job.job import Job
from vaeflow.plugins.registry import Registry
from vaeflow.training.provenance import code, data

SHAPE = (64, 64, 3)


def timed(action, rounds: int) -> list[float]:
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        action()
        taken.append(time.perf_counter() - started)
    return taken


def show(what: str, taken: list[float]) -> None:
    print(f"{what:58}{statistics.median(taken):7.3f} s ({min(taken):.3f} to {max(taken):.3f})")


def write(path: Path, gigabytes: float) -> None:
    """Write random images, a block at a time."""
    count = int(gigabytes * 1e9 / np.prod(SHAPE))
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (count, *SHAPE))
    generator = np.random.default_rng(0)
    for start in range(0, count, 4096):
        array[start : start + 4096] = generator.integers(0, 256, array[start : start + 4096].shape, np.uint8)
    array.flush()
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # as a process on a fresh machine finds it
    os.close(descriptor)


def meet(rank: int, port: int, seconds) -> None:
    addresses = [f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"]
    task = {"type": "worker", "index": rank}
    environ = {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})}
    started = time.perf_counter()
    MeetingPlace.of(Job.current(environ), environ).hold("{}", lambda _: "{}")
    seconds[rank] = time.perf_counter() - started


def meeting() -> float:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    seconds = multiprocessing.Array("d", 2)
    ranks = [multiprocessing.Process(target=meet, args=(rank, port, seconds)) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    return max(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    resolved = resolve(compose("mnist-2d"), Registry.load())
    show(
        "code: vaeflow and no plugin", timed(lambda: code.fingerprints(resolved.components().values()), options.rounds)
    )
    mnist = resolved.dataset.build(Folders.default())
    show("data: MNIST, 55 MB, every byte", timed(lambda: data.fingerprints(mnist), options.rounds))
    with TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "images.npy"
        write(path, options.gigabytes)
        images = Dataset("images", Split(open_npy(path)), None, None, str(path))
        what = f"data: {options.gigabytes:g} GB, sampled"
        show(f"{what}, not in the cache of the system", timed(lambda: data.fingerprints(images), 1))
        show(f"{what}, in the cache", timed(lambda: data.fingerprints(images), options.rounds))
    show("meeting of two processes", [meeting() for _ in range(options.rounds)])


if __name__ == "__main__":
    main()
