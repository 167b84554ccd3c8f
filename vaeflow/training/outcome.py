"""The last lines of a run: what came out, where it is, what to type next."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vaeflow.callbacks.progress import SPLITS
from vaeflow.distributed.job.job import Job
from vaeflow.files.read import kind_of
from vaeflow.plots import FORMATS
from vaeflow.runtime.console import say
from vaeflow.training.run_files import names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vaeflow.config.resolve import Resolved
    from vaeflow.data.sets import Folders
    from vaeflow.training.checkpoints.progress import Progress

NOT_BY_NAME = "--plugin=__main__"
"""The option of a component of a notebook or a script, which no command can import."""

BESIDE = "   or   "
"""Between commands; each can be copied by itself."""


def say_outcome(directory: Path, resolved: Resolved, progress: Progress, options: Sequence[str]) -> None:
    """Print the three lines of a finished run; see `outcome`."""
    if Job.current().rank == 0:  # other ranks may not see the directory
        for line in outcome(directory, resolved, progress, options):
            say(line)


def outcome(directory: Path, resolved: Resolved, progress: Progress, options: Sequence[str]) -> tuple[str, str, str]:
    """Return the three lines of a finished run.

    Args:
        directory: of the run.
        resolved: its config and components.
        progress: at its end.
        options: that commands on this run need, see `options_again`.
    """
    split = next((one for one in SPLITS if f"{one}/elbo" in progress.metrics), None)
    return (
        f"{resolved.config.name}: {result(progress.metrics, split)}, {length(progress)}",
        f"{directory}: {', '.join(files(directory))}",
        f"next: {BESIDE.join(commands(directory, split, options))}",
    )


def result(metrics: Mapping[str, float], split: str | None) -> str:
    """Return the ELBO of a split with its two terms.

    >>> result({"test/elbo": -150.47, "test/log_likelihood": -144.1, "test/kl": 6.37}, "test")
    'test ELBO -150.47 = log-likelihood -144.10 - KL 6.37 nats per example'
    >>> result({"train/elbo": -151.0}, "train")
    'ELBO -151.00 nats per example of the last training steps (the data have no test split)'
    >>> result({}, None)
    'no ELBO was logged'
    """
    if split is None:
        return "no ELBO was logged"
    terms = [f"{split}/{name}" for name in ("log_likelihood", "kl")]
    parts = ""
    if all(name in metrics for name in terms):
        parts = " = log-likelihood {:.2f} - KL {:.2f}".format(*(metrics[name] for name in terms))
    text = f"ELBO {metrics[f'{split}/elbo']:.2f}{parts} nats per example"
    if split == "train":
        return f"{text} of the last training steps (the data have no test split)"
    return f"{split} {text}"


def length(progress: Progress) -> str:
    """Return the steps and the time of a run, and why it was stopped if a callback did that.

    >>> from vaeflow.training.checkpoints.progress import Progress
    >>> length(Progress(step=12000, seconds=1264.4))
    '12,000 steps in 21 min 4 s'
    >>> length(Progress(step=1, seconds=0.26, stopped="test/elbo has not risen for 5 epochs"))
    '1 step in 0.3 s; stopped: test/elbo has not risen for 5 epochs'
    """
    minutes, seconds = divmod(round(progress.seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        took = f"{hours} h {minutes} min"
    else:
        took = f"{minutes} min {seconds} s" if minutes else f"{progress.seconds:.1f} s"
    stopped = f"; stopped: {progress.stopped}" if progress.stopped else ""
    return f"{progress.step:,} step{'' if progress.step == 1 else 's'} in {took}{stopped}"


def files(directory: Path) -> list[str]:
    """Return the names of the files and folders of a run that people open, as far as they are there."""
    pictures = sorted({path.stem for path in (directory / "plots").glob("*.*") if path.suffix[1:] in FORMATS})
    wanted = {
        names.SUMMARY: names.SUMMARY,
        names.METRICS: names.METRICS,
        "plots": f"plots/ ({', '.join(pictures)})",
        "tensorboard": "tensorboard/",
        names.CHECKPOINTS: f"{names.CHECKPOINTS}/",
    }
    there = {name: text for name, text in wanted.items() if kind_of(directory / name) is not None}
    return [text for name, text in there.items() if name != "plots" or pictures]


def commands(directory: Path, split: str | None, options: Sequence[str]) -> list[str]:
    """Return commands that show and evaluate a run.

    Args:
        directory: of the run.
        split: that can be evaluated.
        options: that they need.
    """
    run, ours = str(directory), [*program("vaeflow", "vaeflow")]
    if NOT_BY_NAME in options:
        return [f"vaeflow.load({run!r}, plugins=[...]) in Python"]
    found = [[*ours, "plot", run, *options]]
    if kind_of(directory / "tensorboard") is not None:
        found.append([*program("tensorboard", "tensorboard.main"), "--logdir", run])
    of_split = [] if split in ("test", None) else ["--split", str(split)]
    found.append([*ours, "evaluate", run, "--samples", "100", *of_split, *options])
    return [shlex.join(words) for words in found]


def program(name: str, module: str) -> list[str]:
    """Return how a program of this environment is called, although the environment may not be activated.

    Args:
        name: of the program.
        module: that Python can run instead.
    """
    if shutil.which(name) is not None:
        return [name]
    beside = Path(sys.executable).parent / name
    return [_short(beside)] if beside.exists() else [_short(Path(sys.executable)), "-m", module]


def options_again(resolved: Resolved, folders: Folders) -> list[str]:
    """Return the options of the command that other commands on its run need, too: --plugin and --data-dir.

    Args:
        resolved: components of plugins that are not installed need their modules.
        folders: a folder of the user's needs to be named.
    """
    modules = {
        bound.registered.origin.module: None
        for bound in resolved.components().values()
        if bound.registered.origin.distribution is None
    }
    options = [f"--plugin={_short(Path(module)) if module.endswith('.py') else module}" for module in modules]
    return [*options, *([f"--data-dir={folders.user}"] if folders.user is not None else [])]


def _short(path: Path) -> str:
    """Return a path relative to the working directory if it is below it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
