"""Rules for callbacks."""

from __future__ import annotations

import itertools
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaeflow.callbacks import MOMENTS, Control, Record, RunView
from vaeflow.callbacks.build import build_callback
from vaeflow.errors import UsageError, VaeflowError
from vaeflow.plugin_kit.checks.import_effects import require_clean_import
from vaeflow.plugin_kit.checks.require import BrokenRuleError, require
from vaeflow.plugin_kit.checks.rule import Rule
from vaeflow.plugin_kit.checks.side_effects import require_no_pickles, traced, watched

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vaeflow.callbacks import Asked, Callback
    from vaeflow.plugin_kit.checks.subject import Subject

EPOCHS, WARM_UP = 6, 3
LONG, BEST, CUTS = 30, 4, (1, 3, 5, 8)
"""Epochs of a run, the epoch with the best metrics, and the epochs after which the run is stopped."""

RATE = 1e-3


def _view(subject: Subject, folder: Path) -> RunView:
    experiment = subject.experiment()
    timeline = subject.timeline
    return RunView(
        directory=folder,
        config=experiment.config,
        dataset=experiment.dataset,
        trained=experiment.trained,
        first_step=0,
        total_steps=EPOCHS * timeline.steps_per_epoch,
        steps_per_epoch=timeline.steps_per_epoch,
        say=lambda _: None,
        control=Control(learning_rate=RATE),
        plots=experiment.plots,
    )


def logged(epoch: int) -> dict[str, float]:
    """Return metrics like those of training logs, which improve for some epochs and then get worse."""
    nats = {f"train/{name}": value for name, value in _nats(epoch).items()}
    rates = {"train/learning_rate": RATE, "train/kl_weight": 1.0, "train/gradient_norm": 20.0 - _gain(epoch)}
    speed = {"train/skipped_steps": 0.0, "train/examples_per_second": 1000.0}
    return {**nats, "train/loss": -nats["train/elbo"], **rates, **speed}


def evaluated(epoch: int, splits: Iterable[str], metrics: Iterable[str] = ()) -> dict[str, float]:
    """Return metrics like those of evaluations of some splits."""
    gain = _gain(epoch)
    figures = {**_nats(epoch), "active_units": gain, **dict.fromkeys(metrics, gain)}
    return {f"{split}/{name}": value for split in splits for name, value in figures.items()}


def _nats(epoch: int) -> dict[str, float]:
    gain = _gain(epoch)
    return {"elbo": gain - 200.0, "log_likelihood": gain - 180.0, "kl": 20.0}


def _gain(epoch: int) -> float:
    return min(epoch, BEST) - 0.1 * max(0, epoch - BEST)


def _records(view: RunView, epoch: int, *, final: bool = False) -> tuple[Record, Record]:
    """Return the records of the log and of the evaluation after an epoch."""
    splits = [split for split in view.dataset.splits() if split != "train"]
    metrics = [selected.name for selected in view.config.metrics]
    kl = np.ones(view.trained.latent_size)
    log = Record(view.control.step, float(epoch), logged(epoch), {"train": kl}, final=final)
    scalars = evaluated(epoch, splits, metrics)
    return log, Record(view.control.step, float(epoch), scalars, dict.fromkeys(splits, kl), final=final)


def _live(callback: Callback, view: RunView) -> dict[str, list[str]]:
    """Call a callback as in a run; return the graphs that each method traced after its third call."""
    seen: dict[str, int] = {}
    late: dict[str, list[str]] = {}

    def call(moment: str, *arguments: Any) -> None:
        with traced() as names:
            _call(callback, moment, view, *arguments)
        seen[moment] = seen.get(moment, 0) + 1
        if seen[moment] > WARM_UP and names:
            late.setdefault(moment, []).extend(names)

    call("on_start")
    for epoch in range(1, EPOCHS + 1):
        step = view.control.step = epoch * view.steps_per_epoch
        log, evaluation = _records(view, epoch, final=epoch == EPOCHS)
        call("on_steps", step)
        call("on_log", log)
        call("on_evaluation", evaluation)
        call("on_epoch", epoch)
        call("on_checkpoint", step)
    call("on_end")
    return late


def _call(callback: Callback, moment: str, view: RunView, *arguments: Any) -> None:
    view.control.enter(moment)
    try:
        getattr(callback, moment)(view, *arguments)
    except UsageError:
        raise
    except Exception as error:
        raise BrokenRuleError(f"{moment}: {type(error).__name__}: {error}") from error


def life(subject: Subject) -> None:
    """Call the callback as in a run; call new instances as in a run that fails and in one without validation."""
    with tempfile.TemporaryDirectory() as name:
        view = _view(subject, Path(name))
        callback = build_callback(subject.bound)
        late = _live(callback, view)
        moments = "; ".join(f"{moment} traces {names[0]}" for moment, names in late.items())
        require(not late, f"{moments} at every call: create the tf.function once, and pass tensors to it")
        other = build_callback(subject.bound)
        _call(other, "on_start", view)
        _call(other, "on_exception", view, VaeflowError("made up"))
        try:
            _live(build_callback(subject.bound), replace(view, dataset=replace(view.dataset, validation=None)))
        except UsageError:
            pass  # it reports what is missing
        except BrokenRuleError as broken:
            raise BrokenRuleError(f"without a validation split: {broken}") from broken


def restored_state(subject: Subject) -> None:
    """Save the callback's state during a run, restore it in a new callback, and compare."""
    with tempfile.TemporaryDirectory() as name:
        callback = build_callback(subject.bound)
        _live(callback, _view(subject, Path(name)))
        state = callback.state()
        try:
            kept = json.loads(json.dumps(state, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise BrokenRuleError(f"state() did not return JSON values: {error}") from error
        restored = build_callback(subject.bound)
        if kept:
            restored.restore(kept)
        require(restored.state() == state, f"state() is {state!r}, and after restoring {restored.state()!r}")


def resumed(subject: Subject) -> None:
    """Compare its requests and logs in a run with those in a run that is stopped and resumed."""
    with tempfile.TemporaryDirectory() as name:
        view = _view(subject, Path(name))
        alone = _new_view(view, "uninterrupted")
        complete = _requests_of(build_callback(subject.bound), alone, range(1, LONG + 1))
        logs = _files(alone.directory)
        for cut in (at for at in CUTS if at < len(complete)):
            before, first = build_callback(subject.bound), _new_view(view, f"cut-{cut}")
            _requests_of(before, first, range(1, cut + 1))
            left = _files(first.directory)
            after, second = build_callback(subject.bound), _new_view(view, f"cut-{cut}", first.step)
            second.control.learning_rate = first.control.learning_rate
            if before.state():
                after.restore(json.loads(json.dumps(before.state())))
            _require_same_requests(_requests_of(after, second, range(cut + 1, LONG + 1)), complete[cut:], cut)
            _require_longer_logs(_files(second.directory), left, logs, cut)


def _files(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _require_longer_logs(
    got: Mapping[str, bytes], left: Mapping[str, bytes], logs: Mapping[str, bytes], cut: int
) -> None:
    """Require files that only grow in an uninterrupted run to keep their content after a resume."""
    for name, content in left.items():
        grows = bool(content) and logs.get(name, b"") != content and logs.get(name, b"").startswith(content)
        require(
            not grows or got.get(name, b"").startswith(content),
            f"stopped after epoch {cut} and resumed, {name} has lost its earlier content: open it to append",
        )


def _new_view(view: RunView, folder: str, first_step: int = 0) -> RunView:
    """Return the view of a callback in a new process: a long run in a folder below the view's."""
    directory = view.directory / folder
    directory.mkdir(exist_ok=True)
    control, steps = Control(first_step, RATE), LONG * view.steps_per_epoch
    return replace(view, directory=directory, first_step=first_step, total_steps=steps, control=control)


def _requests_of(callback: Callback, view: RunView, epochs: range) -> list[Asked]:
    """Return a callback's requests after each epoch, until it requests a stop."""
    found: list[Asked] = []
    _call(callback, "on_start", view)
    for epoch in epochs:
        view.control.step = epoch * view.steps_per_epoch
        log, evaluation = _records(view, epoch)
        for moment, argument in (("on_log", log), ("on_evaluation", evaluation), ("on_epoch", epoch)):
            _call(callback, moment, view, argument)
        found.append(view.control.take())
        if found[-1].stop:
            break
    return found


def _require_same_requests(got: list[Asked], wanted: list[Asked], cut: int) -> None:
    for epoch, (ours, theirs) in enumerate(itertools.zip_longest(got, wanted), cut + 1):
        require(
            ours == theirs,
            f"stopped after epoch {cut} and resumed, it requests {ours or 'nothing more'} after epoch {epoch}, but "
            f"{theirs or 'nothing more'} in an uninterrupted run: store everything that it needs in state()",
        )


def weights(subject: Subject) -> None:
    """Call the callback as in a run and compare the model's weights before and after."""
    with tempfile.TemporaryDirectory() as name:
        view = _view(subject, Path(name))
        before = [np.array(v) for v in view.trained.model.variables]
        _live(build_callback(subject.bound), view)
        same = all(np.array_equal(a, b) for a, b in zip(before, view.trained.model.variables, strict=True))
        require(same, "it changes the model's variables, but only on rank 0")


def files(subject: Subject) -> None:
    """Build the callback and call it as in a run; record the files that its code writes."""
    with tempfile.TemporaryDirectory() as name:
        runs = Path(name).resolve()
        (runs / "run").mkdir()
        with watched(subject.place) as effects:
            callback = build_callback(subject.bound)
        require(
            not effects.written,
            f"building it writes {', '.join(effects.written)}: write in on_start, which is called on rank 0 only",
        )
        with watched(subject.place) as during:
            _live(callback, _view(subject, runs / "run"))
        outside = [path for path in during.written if not _may_write(Path(path).resolve(), runs)]
        require(not outside, f"it writes {', '.join(dict.fromkeys(outside))}, which is not below the run's directory")
        require_no_pickles(effects, during)
        require_clean_import(subject)


def _may_write(path: Path, runs: Path) -> bool:
    """Return whether a file is below the run's directory, or beside it, or was temporary and is removed."""
    temporary = path.is_relative_to(Path(tempfile.gettempdir()).resolve()) and not path.exists()
    return path.is_relative_to(runs) or temporary


CALLBACK = (
    Rule("life", f"{', '.join(MOMENTS)} can be called, and do not trace a graph each time", life),
    Rule("state", "its state is JSON and can be restored", restored_state),
    Rule("resumed", "it makes the same requests in a run that is stopped and resumed, and its logs continue", resumed),
    Rule("weights", "it does not change the model's variables", weights),
    Rule("files", "it writes below the run's directory, or beside it, nothing while it is built, and no pickle", files),
)
