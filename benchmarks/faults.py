"""What processes of a job do when one of them is killed, stopped or asked to stop: seconds and exit codes, as a table.

    python benchmarks/faults.py [--rounds 3] [--strategies multiworker horovod]

Three ranks on this machine train `mnist-mlp-20`. Seconds are from the signal: until the first line that names the rank,
and until the last of the other ranks' processes has ended. Horovod must be installed for its rows; nothing else should
run meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

RANKS = 3
SETTINGS = ("microbatches=4", "steps=1000000", "log.tensorboard=false", "checkpoint.every_steps=20", "threads=1")
ASKED = ("TERM", "INT", "USR1")  # after which the rank that heard it ends with the others
CASES = [("KILL", 2), ("KILL", 0), ("STOP", 2), ("STOP", 0), *((name, 2) for name in ASKED)]
PATIENCE = 240  # seconds


@dataclass
class Job:
    """A job that runs: its processes, by rank or the launcher alone, and when they said what."""

    strategy: str
    run: Path
    processes: list[subprocess.Popen[str]]
    lines: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for process in self.processes:
            threading.Thread(target=self._read, args=[process.stdout], daemon=True).start()

    def _read(self, output: IO[str]) -> None:
        self.lines.extend((time.monotonic(), line) for line in output)

    def pids(self) -> list[int]:
        """Return the ranks' process numbers."""
        if self.strategy != "horovod":
            return [process.pid for process in self.processes]
        return [_rank_of_horovod(rank, self.run) for rank in range(RANKS)]

    def wait_until_it_trains(self) -> None:
        """Wait for a checkpoint after the first, or end the benchmark."""
        end = time.monotonic() + PATIENCE
        while not any((self.run / "checkpoints").glob("step-*[1-9]*")):
            if time.monotonic() > end or any(process.poll() is not None for process in self.processes):
                raise SystemExit(f"the job does not train:\n{''.join(line for _, line in self.lines)}")
            time.sleep(0.1)


@dataclass(frozen=True)
class Seen:
    """Seconds until a line named the rank, until the others had ended; codes; the line; what is half-written."""

    knew: float
    ended: float
    codes: str
    line: str
    partial: int


def start(strategy: str, run: Path) -> Job:
    command = [sys.executable, "-m", "vaeflow", "train", "mnist-mlp-20", *SETTINGS, f"strategy={strategy}"]
    command += ["--run-dir", str(run)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    if strategy == "horovod":
        command = [str(Path(sys.executable).parent / "horovodrun"), "-np", str(RANKS), "--gloo", *command]
        return Job(strategy, run, [subprocess.Popen(command, **options)])
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(RANKS)]
    workers = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    processes = []
    for rank in range(RANKS):
        place = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": rank}})
        processes.append(subprocess.Popen(command, env={**os.environ, "TF_CONFIG": place}, **options))
    return Job(strategy, run, processes)


def _rank_of_horovod(rank: int, run: Path) -> int:
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            arguments = (path / "cmdline").read_bytes().split(b"\0")
            environ = (path / "environ").read_bytes().split(b"\0")
            if {str(run).encode(), b"vaeflow"} <= set(arguments) and f"HOROVOD_RANK={rank}".encode() in environ:
                return int(path.name)
    raise SystemExit(f"rank {rank} does not run")


def measure(strategy: str, name: str, victim: int) -> Seen:
    """Send one signal to one rank of a job that trains."""
    with tempfile.TemporaryDirectory() as folder:
        job = start(strategy, Path(folder) / "run")
        job.wait_until_it_trains()
        pids = job.pids()
        os.kill(pids[victim], signal.Signals[f"SIG{name}"])
        sent = time.monotonic()
        others = [pid for rank, pid in enumerate(pids) if rank != victim or name in ASKED]
        while not all(map(_gone, others)):
            if time.monotonic() > sent + PATIENCE:
                raise SystemExit("processes do not end")
            time.sleep(0.02)
        ended = time.monotonic() - sent
        if name == "STOP" and strategy != "horovod":  # horovodrun kills it
            os.kill(pids[victim], signal.SIGKILL)
        codes = [process.wait(PATIENCE) for process in job.processes]
        time.sleep(0.2)  # the last lines
        named = [(at - sent, line) for at, line in sorted(job.lines) if at > sent and f"rank {victim}" in line]
        knew, line = named[0] if named else (float("nan"), "")
        return Seen(knew, ended, _codes(strategy, codes), line.strip(), len(list(job.run.rglob("*.partial"))))


def _gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _codes(strategy: str, codes: list[int]) -> str:
    return f"horovodrun {codes[0]}" if strategy == "horovod" else ", ".join(map(str, codes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strategies", nargs="+", default=["multiworker", "horovod"])
    options = parser.parse_args()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell that started this in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the ranks shall hear it
    print("| signal | strategy | seconds until it was named | until the others had ended | exit codes | half-written |")
    print("| --- " * 6 + "|")
    for strategy in options.strategies:
        for name, victim in CASES:
            seen = [measure(strategy, name, victim) for _ in range(options.rounds)]
            seconds = " | ".join(_spread([getattr(one, key) for one in seen]) for key in ("knew", "ended"))
            codes = " / ".join(dict.fromkeys(one.codes for one in seen))
            partial = max(one.partial for one in seen)
            print(f"| {name} at rank {victim} | {strategy} | {seconds} | {codes} | {partial} |", flush=True)
            print("\n".join(dict.fromkeys(one.line for one in seen)), file=sys.stderr, flush=True)


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
