"""Use vaeflow from Python: train, resume, load and evaluate runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeflow.callbacks.functions import observers
from vaeflow.config.compose import compose
from vaeflow.config.resolve import resolve
from vaeflow.data.sets import Folders
from vaeflow.distributed.job.job import Job
from vaeflow.errors import UsageError
from vaeflow.plugins.registry import Registry
from vaeflow.training.by_hand import TrainingRun
from vaeflow.training.checkpoints.restore import restore_to_read
from vaeflow.training.evaluate import evaluate_run
from vaeflow.training.evaluation_request import EvaluationRequest
from vaeflow.training.existing import resolve_run
from vaeflow.training.loaded import Run
from vaeflow.training.run import Place, prepare
from vaeflow.training.run import resume as resume_to_the_end
from vaeflow.training.run import run as run_to_the_end
from vaeflow.training.run_files.directory import RunDirectory
from vaeflow.training.setup import prepare_to_read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from vaeflow.callbacks import Callback
    from vaeflow.config.resolve import Resolved
    from vaeflow.config.schema import Config
    from vaeflow.config.sources import Overrides
    from vaeflow.plugins.discovery import Plugin

    Observed = Iterable[Callback | Callable[..., Any]]


def train(
    config: Config | Mapping[str, Any] | str | Path = "mnist-2d",
    *,
    overrides: Overrides = (),
    run_dir: str | Path | None = None,
    plugins: Sequence[Plugin] = (),
    data_dir: str | Path | None = None,
    callbacks: Observed = (),
    resume: bool = False,
    accept_changes: bool = False,
) -> Run:
    """Train a config and return the run.

    Args:
        config: a recipe's name, the path of a TOML file, a dict with the keys of such a file (`{"recipe": "mnist-2d",
            "epochs": 5}`), or a `Config`.
        overrides: settings on top of it: `{"epochs": 5, "encoder.width": 64}`, or `["epochs=5", "encoder.width=64"]`.
        run_dir: the run's directory; None takes the next free one below `runs/`.
        plugins: plugins that are not installed: modules (or their names or files) with components or recipes, or
            `vaeflow.Component` objects; `"no:NAME"` disables an installed one.
        data_dir: the user's folder of data sets.
        callbacks: functions, called after each evaluation with (run, record), or `vaeflow.callbacks.Callback` objects;
            see `vaeflow.callbacks.functions.observers`. They see the run and can't change it.
        resume: if `run_dir` contains this run, resume it.
        accept_changes: resume even if code or data have changed, and allow environments to differ between ranks.

    Returns:
        The run, with the weights of its last step.

    Raises:
        VaeflowError: see its subclasses.
    """
    directory = run_to_the_end(
        _find(config, overrides, plugins),
        Path(run_dir) if run_dir else None,
        _folders(data_dir),
        resume=resume,
        accept_changes=accept_changes,
        observers=observers(callbacks),
    )
    if directory is None:
        raise AssertionError("a run that is no dry run has a directory")
    return load(directory.path, plugins=plugins, data_dir=data_dir, accept_changes=accept_changes)


def start(
    config: Config | Mapping[str, Any] | str | Path = "mnist-2d",
    *,
    overrides: Overrides = (),
    run_dir: str | Path | None = None,
    plugins: Sequence[Plugin] = (),
    data_dir: str | Path | None = None,
    callbacks: Observed = (),
    resume: bool = False,
    accept_changes: bool = False,
) -> TrainingRun:
    """Return a run that `for epoch in run.epochs():` trains; takes what `train` takes.

    Data are loaded and the model is built; no step is taken and nothing is written before the loop.

    Raises:
        UsageError: if the job is elastic: its workers change, and the loop would not.
        VaeflowError: see its subclasses.
    """
    if Job.current().elastic:
        raise UsageError("vaeflow.start: an elastic job has no loop by hand; use vaeflow.train or the command")
    find = _find(config, overrides, plugins)
    ready = prepare(find, _folders(data_dir), accept_changes=accept_changes, observers=observers(callbacks))
    return TrainingRun(ready, Place(Path(run_dir) if run_dir else None, may_have_begun=resume))


def resume(
    run_dir: str | Path,
    *,
    overrides: Overrides = (),
    plugins: Sequence[Plugin] = (),
    data_dir: str | Path | None = None,
    callbacks: Observed = (),
    accept_changes: bool = False,
) -> Run:
    """Resume a run from its newest valid checkpoint, train it to the end and return it.

    Args:
        run_dir: the run's directory.
        overrides: settings of `strategy`, which may differ from the original run's.
        plugins: as for `train`.
        data_dir: the user's folder of data sets.
        callbacks: as for `train`.
        accept_changes: resume even if config, code or data have changed.

    Raises:
        VaeflowError: see its subclasses.
    """
    directory = resume_to_the_end(
        Path(run_dir),
        plugins,
        settings=overrides,
        folders=_folders(data_dir),
        accept_changes=accept_changes,
        observers=observers(callbacks),
    )
    return load(directory.path, plugins=plugins, data_dir=data_dir, accept_changes=accept_changes)


def load(
    run_dir: str | Path,
    *,
    best: bool = False,
    plugins: Sequence[Plugin] = (),
    data_dir: str | Path | None = None,
    accept_changes: bool = False,
) -> Run:
    """Load a run with the weights of its newest valid checkpoint.

    Args:
        run_dir: the run's directory.
        best: take the checkpoint that a callback chose, or else the one with the best ELBO on the validation split.
        plugins: as for `train`.
        data_dir: the user's folder of data sets.
        accept_changes: load it although config, plugin code or data have changed since.

    Raises:
        UsageError: if it is no run's directory, if no checkpoint is the best, or if what its figures depend on has
            changed.
        CheckpointError: if none of its checkpoints is valid.
    """
    directory = RunDirectory.open(Path(run_dir))
    resolved = resolve_run(directory, plugins)
    experiment, record = prepare_to_read(resolved, _folders(data_dir))
    progress = restore_to_read(directory, resolved, experiment, record, best=best, accept_changes=accept_changes)
    return Run(directory.path, experiment, step=progress.step, metrics=progress.metrics)


def evaluate(
    run: Run | str | Path,
    split: str = "test",
    *,
    samples: int | None = None,
    importance_samples: int | None = None,
    annealing_steps: int = 0,
    memory: float | None = None,
    metrics: Sequence[str | Mapping[str, Any]] = (),
    features: str | Path | Callable[..., Any] | None = None,
    best: bool = False,
    plugins: Sequence[Plugin] = (),
    data_dir: str | Path | None = None,
    accept_changes: bool = False,
) -> dict[str, Any]:
    """Return the metrics of a split: `{"split": "test", "samples": 1, ..., "metrics": {"test/elbo": -143.3, ...}}`.

    Args:
        run: a run, with its current weights; or a run's directory, into which `evaluation-SPLIT.json` is written.
        split: `train`, `validation` or `test`.
        samples: L, the samples of z per example; None uses the config's.
        importance_samples: K, the samples per example to estimate log p(x) with, too; None does not estimate it.
        annealing_steps: T, to estimate it by annealed importance sampling, with K chains of T steps; else 0.
        memory: bytes that these samples may take; None uses what is available.
        metrics: names of metrics beside those of the config; or tables, `{"name": "calibration", "draws": 9}`.
        features: for `precision-recall`: the path of a .keras file, an importable `module:function`, or a function from
            x [B, *X] to features [B, F]; None uses the run's own encoder.
        best: for a directory: use the best checkpoint instead of the newest.
        plugins: as for `train`; of a `Run`, those of `metrics` that are not installed.
        data_dir: for a directory: the user's folder of data sets.
        accept_changes: for a directory: evaluate it although config, plugin code or data have changed since.

    Raises:
        VaeflowError: see its subclasses.
    """
    request = EvaluationRequest(
        split, samples, best, importance_samples, annealing_steps, memory, tuple(metrics), features
    )
    if isinstance(run, Run):
        return run.evaluated(request, plugins)
    folders = _folders(data_dir)
    return evaluate_run(Path(run), folders, request, modules=plugins, accept_changes=accept_changes) or {}


def _find(
    config: Config | Mapping[str, Any] | str | Path, overrides: Overrides, plugins: Sequence[Plugin]
) -> Callable[[], Resolved]:
    def find() -> Resolved:
        registry = Registry.load(plugins)
        return resolve(compose(config, overrides, registry.recipe), registry)

    return find


def _folders(data_dir: str | Path | None) -> Folders:
    return Folders.default(Path(data_dir) if data_dir else None)
