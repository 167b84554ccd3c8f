"""Small runs of the command on real digits, in this process or in one of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.fork_server import server
from vaeflow.cli import main
from vaeflow.config import schema

if TYPE_CHECKING:
    from pathlib import Path

RUN = "import runpy; runpy.run_module('vaeflow', run_name='__main__', alter_sys=True)"
"""What `python -c` runs after what a test puts before the command."""
SHORT = ("batch_size=32", "log.every_steps=5", "log.tensorboard=false", "plots.draw=[]")
PLOTS = f"plots.draw={list(schema.PLOTS)}"
"""The setting that draws what a run draws by default; `SHORT` draws nothing."""
SMALL = ("encoder=mlp", "encoder.hidden=[8]", "decoder=mlp", "decoder.hidden=[8]")


def write_digits(path: Path, content: Any, *, train: int = 256, test: int = 64, labels: bool = True) -> Path:
    """Write the first digits of MNIST for the data set `arrays`; without test digits there is no test split."""
    arrays = {"x_train": content.x_train[:train], "y_train": content.y_train[:train]}
    if test:
        arrays |= {"x_test": content.x_test[:test], "y_test": content.y_test[:test]}
    np.savez(path, **{name: array for name, array in arrays.items() if labels or name.startswith("x")})
    return path


def on(data: Path, *settings: str) -> list[str]:
    """Return settings of a short run of a small model, two epochs unless told; later ones win."""
    length = () if any(setting.startswith(("epochs=", "steps=")) for setting in settings) else ("epochs=2",)
    return ["dataset=arrays", f"dataset.path={data}", *SHORT, *SMALL, *length, *settings]


def train(run_dir: Path, data: Path, *settings: str) -> Path:
    """Train in this process and return the run's directory."""
    assert main(["train", "mnist-2d", "--run-dir", str(run_dir), *on(data, *settings)]) == 0
    return run_dir


def python(*, plain: bool = False) -> tuple[str, ...]:
    """Return the start of a command: Python, from the fork server unless the start should be a shell's."""
    return (sys.executable,) if plain else server().python


def command_line(*arguments: object, plain: bool = False) -> list[str]:
    """Return the command `vaeflow ARGUMENTS`; see `python`."""
    return [*python(plain=plain), "-m", "vaeflow", *map(str, arguments)]


def forking_line(*arguments: object) -> list[str]:
    """Return the command `vaeflow ARGUMENTS`; what it starts by `sys.executable` comes from the fork server, too."""
    replaced = f"import sys; sys.executable = {str(server().programs / 'python')!r}"
    return [*python(), "-c", f"{replaced}; {RUN}", *map(str, arguments)]


def vaeflow(*arguments: object, plain: bool = False, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run `vaeflow ARGUMENTS` in a process of its own to its end; see `python`."""
    called = command_line(*arguments, plain=plain)
    return subprocess.run(called, check=False, text=True, **{"capture_output": True, **options})


def summary(run_dir: Path) -> dict[str, Any]:
    """Return a run's summary; what it cost to compute is left out."""
    found = json.loads((run_dir / "summary.json").read_text())
    return {key: value for key, value in found.items() if key not in ("seconds", "examples_per_second", "traces")}


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """Return a run's metrics without the speed."""
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "train/examples_per_second"} for line in lines]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return every file below a folder with its content, and every folder; locks and bytecode aside."""
    paths = [path for path in sorted(folder.rglob("*")) if path.name != ".lock" and "__pycache__" not in path.parts]
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}
