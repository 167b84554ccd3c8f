"""Rules for plots and strategies."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from vaeflow.errors import UsageError
from vaeflow.plugin_kit.checks.callbacks import evaluated, logged
from vaeflow.plugin_kit.checks.import_effects import require_clean_import
from vaeflow.plugin_kit.checks.require import SkippedRuleError, require
from vaeflow.plugin_kit.checks.rule import Rule
from vaeflow.plugin_kit.checks.side_effects import require_no_pickles, watched

if TYPE_CHECKING:
    from vaeflow.plugin_kit.checks.subject import Subject

PATIENCE = 240  # seconds for a job of three steps


def picture(subject: Subject) -> None:
    """Draw small models with one, two and three latent dimensions, with labels and without."""
    from dataclasses import replace

    from vaeflow.plots import Subject as Drawn
    from vaeflow.plots import style
    from vaeflow.plots.examples import Examples

    drawn = 0
    with tempfile.TemporaryDirectory() as name:
        for latent_size in (1, 2, 3):
            experiment = replace(subject, latent_size=latent_size).experiment()
            examples = Examples.held_out(experiment.trained, experiment.dataset, 100)
            metrics = Path(name) / "metrics.jsonl"
            metrics.write_text("".join(f"{json.dumps(_row(epoch))}\n" for epoch in (1, 2)))
            for shown in (examples, replace(examples, y=None)):
                with watched(subject.place) as effects:
                    figure = subject.build()(Drawn(experiment.trained, shown, metrics, "check"))
                require(
                    not effects.written, f"it writes {', '.join(effects.written)}: return the figure, vaeflow saves it"
                )
                require_no_pickles(effects)
                if figure is not None:
                    drawn += 1
                    _require_picture(style.save(figure, Path(name) / "plot.png"))
    require_clean_import(subject)
    require(drawn, "it draws none of six small models of images")


def _row(epoch: int) -> dict[str, float]:
    return {"step": 3 * epoch, "epoch": float(epoch), **logged(epoch), **evaluated(epoch, ("validation", "test"))}


def _require_picture(path: Path) -> None:
    pixels = tf.io.decode_png(path.read_bytes(), channels=3).numpy()
    require(len(np.unique(pixels.reshape((-1, 3)), axis=0)) > 1, "the picture is of one colour")


def job(subject: Subject) -> None:
    """Train three steps under the strategy and under `single`, in separate processes; compare all state."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "data.npz", x_train=np.asarray(subject.dataset.train.x))
        expected = _trained(folder, "expected", [], ["strategy=single"])
        options = [f"strategy.{key}={value}" for key, value in subject.options.items()]
        plugins = [f"--plugin={module}" for module in subject.registry.modules]
        found = _trained(folder, "run", _launcher(subject), [f"strategy={subject.name}", *options, *plugins])
        require(found == expected, f"state_sha256 is {found[:16]}..., and {expected[:16]}... on one device")


def _launcher(subject: Subject) -> list[str]:
    """Return the command that starts two processes, or an empty list if the strategy uses one process."""
    try:
        subject.build()
    except UsageError as error:
        if "launcher" not in str(error) and "horovod" not in str(error).lower():
            raise
    else:
        return []
    if subject.name == "horovod":
        import importlib.util

        if importlib.util.find_spec("horovod") is None:
            raise SkippedRuleError("Horovod is not installed: vaeflow horovod install")
        return [str(Path(sys.executable).parent / "horovodrun"), "-np", "2", "--gloo"]
    return ["TF_CONFIG"]


def _trained(folder: Path, name: str, launcher: list[str], settings: list[str]) -> str:
    """Train in separate processes and return the hash of the state."""
    from vaeflow.plugin_kit.checks.processes import run_job

    data = ["dataset=arrays", f"dataset.path={folder / 'data.npz'}"]
    small = ["encoder=mlp", "encoder.hidden=[8]", "decoder=mlp", "steps=3", "batch_size=10", "microbatches=4"]
    quiet = ["log.tensorboard=false", "plots.draw=[]", "--run-dir", str(folder / name)]
    run_job(
        [sys.executable, "-m", "vaeflow", "train", "mnist-2d", *data, *small, *quiet, *settings], launcher, PATIENCE
    )
    return str(json.loads((folder / name / "summary.json").read_text())["state_sha256"])


PLOT = (Rule("picture", "a figure with more than one colour, or None; it writes no file and pickles nothing", picture),)
STRATEGY = (Rule("job", "a short run has the weights and slots of one device, bit for bit", job),)
