"""What only a GPU can show, in at most eight minutes: bits, kill and resume, precisions, XLA, and speed.

    python benchmarks/gpu_report.py [--out FOLDER] [--minutes 8] [--on-cpu]

Writes report.md and report.json into FOLDER (default: $OUT, or gpu-report) after each check, so that a run that is cut
short leaves what it had. Without a GPU it says so and ends with exit code 0. --on-cpu does all of it on the CPU, to try
the script itself. The exit code is 1 if a check failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaeflow.data.sets import Folders
from vaeflow.data.sets.fetch import fetch

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
QUIET = ("log.tensorboard=false", "plots.draw=[]", "evaluate.every_epochs=1000", "checkpoint.every_steps=20")
EXAMPLES, STEPS = 2000, 60
SPLIT = """
import sys
import tensorflow as tf
gpu = tf.config.list_physical_devices("GPU")[0]
tf.config.set_logical_device_configuration(gpu, [tf.config.LogicalDeviceConfiguration(memory_limit=8192)] * 2)
from vaeflow.cli import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass
class Check:
    """A check and what came of it.

    Attributes:
        name: what is checked.
        found: `passed`, `failed`, or why it was not run.
        detail: figures, or the end of an error.
        seconds: that it took.
    """

    name: str
    found: str = "not run: no time left"
    detail: str = ""
    seconds: float = 0.0


@dataclass
class Report:
    """The checks of a machine.

    Attributes:
        out: folder of the report and of the runs.
        data: an .npz file with a few digits.
        until: by the monotonic clock.
        checks: in their order.
    """

    out: Path
    data: Path
    until: float
    device: str
    checks: list[Check] = field(default_factory=list)

    def train(
        self, name: str, *settings: str, kill_at: int | None = None, resume: bool = False, split: bool = False
    ) -> str:
        """Train a run, or resume it, and return the hash of its state.

        Args:
            name: of the run.
            settings: of the recipe.
            kill_at: kill it at this step, and return an empty hash.
            resume: go on with a run that is there.
            split: split the GPU into two logical devices first.
        """
        run = self.out / "runs" / name
        data = ("dataset=arrays", f"dataset.path={self.data}", f"steps={STEPS}", *QUIET)
        words = ["resume", str(run), *settings] if resume else ["train", "mnist-2d", *data, *settings]
        start = ["-c", SPLIT] if split else ["-m", "vaeflow"]
        command = [sys.executable, *start, *words, *([] if resume else ["--run-dir", str(run)])]
        with (self.out / "log.txt").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            while kill_at is not None and process.poll() is None:
                if list(run.glob(f"checkpoints/*{kill_at}*")):
                    process.send_signal(signal.SIGKILL)
                time.sleep(0.01)
            code = process.wait()
        if kill_at is not None:
            require(code == -signal.SIGKILL, f"it ended with {code} before it was killed")
            return ""
        require(code == 0, f"vaeflow {words[0]} of {name} ended with exit code {code}, see log.txt")
        return str(json.loads((run / "summary.json").read_text())["state_sha256"])

    def speed(self, name: str, *settings: str) -> dict[str, float]:
        """Return the figures of `vaeflow bench mnist-2d`."""
        out = self.out / f"bench-{name}.json"
        command = [sys.executable, "-m", "vaeflow", "bench", "mnist-2d", *settings, "--rounds=3", "--steps=100"]
        with (self.out / "log.txt").open("ab") as log:
            code = subprocess.run([*command, f"--json={out}"], stdout=log, stderr=log, check=False).returncode
        require(code == 0, f"vaeflow bench ended with exit code {code}, see log.txt")
        return json.loads(out.read_text())  # type: ignore[no-any-return]

    def check(self, name: str, call: Callable[[], str]) -> None:
        """Make a check if there is time, and write the report."""
        one = Check(name)
        self.checks.append(one)
        if time.monotonic() < self.until:
            began = time.monotonic()
            try:
                one.detail, one.found = call(), "passed"
            except (RuntimeError, OSError, KeyError, ValueError) as error:
                one.detail, one.found = str(error), "failed"
            one.seconds = time.monotonic() - began
        print(f"{one.found:8} {one.seconds:5.0f} s  {name}: {one.detail}", flush=True)
        self.write()

    def write(self) -> None:
        """Write report.json and report.md."""
        rows = [f"| {c.name} | {c.found} | {c.detail} | {c.seconds:.0f} |" for c in self.checks]
        head = [
            f"# GPU report\n\n{self.device}\n",
            "| check | result | detail | seconds |",
            "| --- | --- | --- | --- |",
        ]
        (self.out / "report.md").write_text("\n".join([*head, *rows]) + "\n")
        (self.out / "report.json").write_text(json.dumps([asdict(c) for c in self.checks], indent=2) + "\n")


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RuntimeError(otherwise)


def equal(*hashes: str) -> str:
    require(len(set(hashes)) == 1, f"different bits: {', '.join(h[:12] for h in hashes)}")
    return f"{len(hashes)} runs, {hashes[0][:12]}"


def checks_of(report: Report, *, gpu: bool) -> dict[str, Callable[[], str]]:
    """Return the checks; the most important first."""
    exact = "microbatches=4"
    logical = ("strategy=mirrored", "strategy.replicas=2")
    train, state = report.train, {}

    def first() -> str:
        state["single"] = train("single", exact)
        return equal(state["single"], train("again", exact))

    def resumed() -> str:
        train("killed", exact, kill_at=20)
        return equal(state["single"], train("killed", resume=True))

    def by_precision(precision: str) -> Callable[[], str]:
        words = (exact, f"precision={precision}")
        return lambda: equal(train(f"{precision}-a", *words), train(f"{precision}-b", *words))

    def speed(name: str, *settings: str) -> Callable[[], str]:
        def measured() -> str:
            found = report.speed(name, *settings)
            speed_, share = found["median_examples_per_second"], found["utilization"]
            parts = ", ".join(f"{part} {ms:.2f}" for part, ms in found["milliseconds"].items())  # type: ignore[attr-defined]
            return f"{speed_:,.0f} images/s, {share:.1%} of a matrix product's rate; ms: {parts}"

        return measured

    def plain() -> str:
        loop = [sys.executable, str(HERE / "article_loops.py"), "plain", str(fetch("mnist", Folders.default())), "200"]
        done = subprocess.run(loop, capture_output=True, text=True, check=False)
        require(done.returncode == 0, done.stderr[-300:])
        return f"{float(done.stdout.split()[-1]):,.0f} images/s"

    found = {
        "the same bits from run to run": first,
        "killed and resumed": resumed,
        "speed, float32": speed("float32"),
        "speed of the plain loop": plain,
        "speed, mixed_bfloat16": speed("bfloat16", "precision=mixed_bfloat16"),
        "mixed_bfloat16: the same bits": by_precision("mixed_bfloat16"),
        "XLA: the same bits": lambda: equal(*(train(f"xla-{i}", exact, "xla=true") for i in range(2))),
        "speed, XLA": speed("xla", "xla=true"),
        "mixed_float16: the same bits": by_precision("mixed_float16"),
        "speed, exact sum of 4 microbatches": speed("exact", exact),
    }
    two = {"one device and two": lambda: equal(state["single"], train("two", exact, *logical, split=gpu))}
    return {**dict(list(found.items())[:2]), **two, **dict(list(found.items())[2:])}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "gpu-report"))
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--on-cpu", action="store_true")
    options = parser.parse_args()
    listed = "import tensorflow as tf; print([d.name for d in tf.config.list_physical_devices('GPU')])"
    shown = subprocess.run([sys.executable, "-c", listed], capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    gpu = shown[-2] != "[]"
    if not gpu and not options.on_cpu:
        print("no GPU: nothing was checked")
        return 0
    if options.out.exists() and any(options.out.iterdir()):
        print(f"{options.out} is not empty; choose another --out", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    report = Report(options.out, options.out / "digits.npz", time.monotonic() + 60 * options.minutes, shown[-2])
    with np.load(fetch("mnist", Folders.default())) as arrays:
        np.savez(report.data, **{k: v[: EXAMPLES if "train" in k else 200] for k, v in arrays.items() if v.ndim})
    for name, call in checks_of(report, gpu=gpu).items():
        report.check(name, call)
    return int(any(one.found == "failed" for one in report.checks))


if __name__ == "__main__":
    sys.exit(main())
