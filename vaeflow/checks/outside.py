"""Rules for what runs outside of the step: callbacks, plots, strategies."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from vaeflow.callbacks import MOMENTS, Record, RunView
from vaeflow.callbacks.build import build_callback
from vaeflow.checks.rule import BrokenRuleError, LeftOutError, Rule, require
from vaeflow.checks.watching import require_no_pickles, traced, watched
from vaeflow.errors import UsageError, VaeflowError

if TYPE_CHECKING:
    from vaeflow.callbacks import Callback
    from vaeflow.checks.subject import Subject

EPOCHS, WARM_UP = 6, 3
CALL = "import sys; from vaeflow.cli import main; sys.exit(main(sys.argv[1:]))"
PATIENCE = 240  # seconds for a job of three steps


def _view(subject: Subject, folder: Path, said: list[str]) -> RunView:
    experiment = subject.experiment()
    timeline = subject.timeline
    view = RunView(
        directory=folder,
        config=experiment.config,
        dataset=experiment.dataset,
        trained=experiment.trained,
        first_step=0,
        total_steps=EPOCHS * timeline.steps_per_epoch,
        steps_per_epoch=timeline.steps_per_epoch,
        say=said.append,
        plots=experiment.plots,
    )
    view.control.learning_rate = 1e-3
    return view


def _scalars(epoch: int) -> dict[str, float]:
    names = ("bound", "log_likelihood", "kl", "loss", "active_units", "learning_rate", "gradient_norm")
    return {f"{split}/{name}": -200.0 - 0.1 * epoch for split in ("train", "validation", "test") for name in names}


def _live(callback: Callback, view: RunView) -> dict[str, list[str]]:
    """Take a callback through a run; return the graphs that each moment traced once it had been there three times."""
    seen: dict[str, int] = {}
    late: dict[str, list[str]] = {}

    def tell(moment: str, *arguments: Any) -> None:
        view.control.enter(moment)
        with traced() as names:
            _call(callback, moment, view, *arguments)
        seen[moment] = seen.get(moment, 0) + 1
        if seen[moment] > WARM_UP and names:
            late.setdefault(moment, []).extend(names)

    tell("on_start")
    for epoch in range(1, EPOCHS + 1):
        step = view.control.step = epoch * view.steps_per_epoch
        record = Record(step, float(epoch), _scalars(epoch), {"train": np.ones(2)}, final=epoch == EPOCHS)
        tell("on_chunk", step)
        tell("on_log", record)
        tell("on_evaluation", record)
        tell("on_epoch", epoch)
        tell("on_checkpoint", step)
    tell("on_end")
    return late


def _call(callback: Callback, moment: str, *arguments: Any) -> None:
    try:
        getattr(callback, moment)(*arguments)
    except Exception as error:
        raise BrokenRuleError(f"{moment}: {type(error).__name__}: {error}") from error


def life(subject: Subject) -> None:
    """Take the callback through a run, and another one of its kind through one that fails."""
    with tempfile.TemporaryDirectory() as name:
        view = _view(subject, Path(name), [])
        callback = build_callback(subject.bound)
        late = _live(callback, view)
        moments = "; ".join(f"{moment} traces {names[0]}" for moment, names in late.items())
        require(not late, f"{moments} at every call: make a tf.function once, and hand it tensors")
        other = build_callback(subject.bound)
        _call(other, "on_start", view)
        _call(other, "on_exception", view, VaeflowError("made up"))


def remembered(subject: Subject) -> None:
    """Save the callback's state in the middle of a run, restore it to a new one, and compare."""
    with tempfile.TemporaryDirectory() as name:
        callback = build_callback(subject.bound)
        _live(callback, _view(subject, Path(name), []))
        state = callback.state()
        try:
            kept = json.loads(json.dumps(state, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise BrokenRuleError(f"state() returned what is no JSON: {error}") from error
        restored = build_callback(subject.bound)
        if kept:
            restored.restore(kept)
        require(restored.state() == state, f"state() is {state!r}, and after restoring {restored.state()!r}")


def weights(subject: Subject) -> None:
    """Take the callback through a run and look at the model's weights."""
    with tempfile.TemporaryDirectory() as name:
        view = _view(subject, Path(name), [])
        before = [np.array(v) for v in view.trained.model.variables]
        _live(build_callback(subject.bound), view)
        same = all(np.array_equal(a, b) for a, b in zip(before, view.trained.model.variables, strict=True))
        require(same, "it changes the model's variables: on the chief's replica alone")


def files(subject: Subject) -> None:
    """Build it, which every rank may do, and take it through a run; watch what its own code writes."""
    with tempfile.TemporaryDirectory() as name:
        runs = Path(name).resolve()
        (runs / "run").mkdir()
        with watched(subject.bound.component.build) as deeds:
            callback = build_callback(subject.bound)
        require(not deeds.written, f"building it writes {', '.join(deeds.written)}: write in on_start, on the chief")
        with watched(subject.bound.component.build) as during:
            _live(callback, _view(subject, runs / "run", []))
        outside = [path for path in during.written if not _may_write(Path(path).resolve(), runs)]
        require(not outside, f"it writes {', '.join(dict.fromkeys(outside))}, which is not below the run's directory")
        require_no_pickles(deeds, during)


def _may_write(path: Path, runs: Path) -> bool:
    """Say whether a file is below the run's directory, or beside it, or was a temporary one that is gone."""
    temporary = path.is_relative_to(Path(tempfile.gettempdir()).resolve()) and not path.exists()
    return path.is_relative_to(runs) or temporary


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
                with watched(subject.bound.component.build) as deeds:
                    figure = subject.build()(Drawn(experiment.trained, shown, metrics, "check"))
                require(not deeds.written, f"it writes {', '.join(deeds.written)}: return the figure, vaeflow saves it")
                require_no_pickles(deeds)
                if figure is not None:
                    drawn += 1
                    _require_picture(style.save(figure, Path(name) / "plot.png"))
    require(drawn, "it draws none of six small models of images")


def _row(epoch: int) -> dict[str, float]:
    return {"step": 3 * epoch, "epoch": float(epoch), **_scalars(epoch)}


def _require_picture(path: Path) -> None:
    pixels = tf.io.decode_png(path.read_bytes(), channels=3).numpy()
    require(len(np.unique(pixels.reshape((-1, 3)), axis=0)) > 1, "the picture is of one colour")


def job(subject: Subject) -> None:
    """Train three steps under the strategy, and under `single`, in processes of their own; compare all state."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "data.npz", x_train=subject.dataset.train.x)
        expected = _trained(folder, "expected", [], ["strategy=single"])
        options = [f"strategy.{key}={value}" for key, value in subject.options.items()]
        plugins = [f"--plugin={module}" for module in subject.registry.modules]
        found = _trained(folder, "run", _launcher(subject), [f"strategy={subject.name}", *options, *plugins])
        require(found == expected, f"state_sha256 is {found[:16]}..., and {expected[:16]}... on one device")


def _launcher(subject: Subject) -> list[str]:
    """Return how two processes are started where the strategy joins processes; nothing where it needs none."""
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
            raise LeftOutError("Horovod is not installed: vaeflow horovod install")
        return [str(Path(sys.executable).parent / "horovodrun"), "-np", "2", "--gloo"]
    return ["TF_CONFIG"]


def _trained(folder: Path, name: str, launcher: list[str], settings: list[str]) -> str:
    """Train in processes of their own and return the hash of the state."""
    from vaeflow.checks.jobs import run_job

    data = ["dataset=arrays", f"dataset.path={folder / 'data.npz'}"]
    small = ["encoder=mlp", "encoder.hidden=[8]", "decoder=mlp", "steps=3", "batch_size=10", "microbatches=4"]
    quiet = ["log.tensorboard=false", "plots.draw=[]", "--run-dir", str(folder / name)]
    run_job([sys.executable, "-c", CALL, "train", "mnist-2d", *data, *small, *quiet, *settings], launcher, PATIENCE)
    return str(json.loads((folder / name / "summary.json").read_text())["state_sha256"])


CALLBACK = (
    Rule("life", f"it lives through {', '.join(MOMENTS)}, and traces nothing anew each time", life),
    Rule("state", "its state is JSON and can be restored", remembered),
    Rule("weights", "it leaves the model's variables alone", weights),
    Rule("files", "it writes below the run's directory, or beside it, nothing while it is built, and no pickle", files),
)
PLOT = (Rule("picture", "a figure with more than one colour, or None; it writes no file and pickles nothing", picture),)
STRATEGY = (Rule("job", "a short run has the weights and slots of one device, bit for bit", job),)
