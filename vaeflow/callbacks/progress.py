"""Progress of a run on the terminal or in a notebook."""

from __future__ import annotations

import contextlib
import math
import sys
import time
import warnings
from typing import TYPE_CHECKING, Any

from vaeflow.callbacks.base import Callback

if TYPE_CHECKING:
    from collections.abc import Callable

    from vaeflow.callbacks.base import Record, RunView

SPEED = "train/examples_per_second"
SPLITS = ("test", "validation", "train")  # the most important first
FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {figures}"
FIRST = "compiling the first step"


UNSEEN = contextlib.suppress(OSError)
"""Ignores output errors: a run must not end because its terminal was closed."""


class ProgressBar(Callback):
    """A progress bar if standard error is a terminal or a notebook's, and one line per evaluation.

    Args:
        clock: returns seconds; their origin does not matter.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._bar: Any = None
        self._clock, self._pace = clock, Pace()
        self._speed: float | None = None
        self._doing = ""

    def on_start(self, run: RunView) -> None:
        """Show the bar, filled up to the step that was resumed."""
        self._pace = Pace()
        with UNSEEN:
            self._bar = bar_class()(
                total=run.total_steps,
                initial=run.first_step,
                desc=self._title(run, run.first_step),
                bar_format=FORMAT,
                dynamic_ncols=True,
                disable=False if in_notebook() else None,  # None: unless standard error is a terminal
            )
        run.doing.listen(lambda what: self._show_doing(run, what))

    def on_steps(self, run: RunView, step: int) -> None:
        """Move the bar, and show the training ELBO and the KL divergence of the newest steps."""
        self._pace.count(step, self._clock())
        if self._bar is not None:
            with UNSEEN:
                self._bar.set_description_str(self._title(run, step), refresh=False)
                self._bar.figures = figures(run, self._pace.seconds_left(run.total_steps))
                self._bar.update(step - self._bar.n)

    def on_log(self, run: RunView, record: Record) -> None:  # noqa: ARG002
        """Keep the speed, for the line of the next evaluation."""
        self._speed = record.scalars.get(SPEED, self._speed)

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """Print the ELBO of the evaluation as a line."""
        split = next((name for name in SPLITS if f"{name}/elbo" in record.scalars), None)
        if split is not None:
            run.say(evaluation_line(run, record, split, self._speed))

    def on_exception(self, run: RunView, error: BaseException) -> None:  # noqa: ARG002
        """Leave the bar as it is, so that the error starts on a line of its own."""
        self.close()

    def close(self) -> None:
        """Leave the bar as it is. It is open during `on_end`, in which other callbacks may take long."""
        if self._bar is not None:
            bar, self._bar = self._bar, None
            with UNSEEN:
                bar.close()

    def _show_doing(self, run: RunView, what: str) -> None:
        self._doing = what
        if self._bar is not None:
            with UNSEEN:
                self._bar.set_description_str(self._title(run, self._bar.n), refresh=True)

    def _title(self, run: RunView, step: int) -> str:
        epochs = math.ceil(run.total_steps / run.steps_per_epoch)
        epoch = max(1, math.ceil(step / run.steps_per_epoch))
        doing = f", {self._doing}" if self._doing else ""
        return f"{run.config.name} epoch {epoch}/{epochs}{doing}"


class Closing(Callback):
    """Closes the bar at the end of a run, after all other callbacks; so it is the last one.

    Args:
        bar: that is closed.
    """

    def __init__(self, bar: ProgressBar) -> None:
        self._bar = bar

    def on_end(self, run: RunView) -> None:  # noqa: ARG002
        """Close the bar."""
        self._bar.close()


class Pace:
    """Predicts the end of a run by the steps of this process, with evaluations and saves, without the compilation."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._newest = (0, 0.0)

    def count(self, step: int, seconds: float) -> None:
        """Note the step that was reached, and the time; the first call ends the compilation."""
        self._first = self._first or (step, seconds)
        self._newest = (step, seconds)

    def seconds_left(self, total: int) -> float | None:
        """Return the seconds to the last step; None until there are steps to compute it from.

        >>> pace = Pace()
        >>> pace.count(20, 9.0), pace.seconds_left(100)
        (None, None)
        >>> pace.count(40, 10.0), pace.seconds_left(100)
        (None, 3.0)
        """
        if self._first is None or self._newest[0] <= self._first[0]:
            return None
        steps, seconds = (self._newest[i] - self._first[i] for i in (0, 1))
        return (total - self._newest[0]) * seconds / steps


def bar_class() -> Any:
    """Return tqdm's bar for this terminal or notebook; the one for terminals where a notebook lacks ipywidgets.

    Its format has `{figures}`, which are those of an attribute.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        figures = FIRST

        @property
        def format_dict(self) -> dict[str, Any]:
            return {**super().format_dict, "figures": self.figures}

    return Bar


def in_notebook() -> bool:
    """Return whether this process is a notebook's kernel, as tqdm decides it: its output is no terminal."""
    return "ipykernel.zmqshell" in sys.modules


def figures(run: RunView, seconds_left: float | None) -> str:
    """Return `ELBO -150.47, KL 6.37, 1380 images/s, 04:12 left`, without what is not known.

    Args:
        run: with the means over the newest steps.
        seconds_left: to the last step.
    """
    newest = run.newest
    names = (("ELBO", "train/elbo"), ("KL", "train/kl"))
    parts = [f"{word} {newest[name]:.2f}" for word, name in names if name in newest]
    if SPEED in newest:
        parts.append(speed_text(run, newest[SPEED]))
    if seconds_left:
        parts.append(f"{clock_text(seconds_left)} left")
    return ", ".join(parts)


def clock_text(seconds: float) -> str:
    """Return minutes and seconds, after hours if there are any.

    >>> clock_text(252.4), clock_text(3600 * 11 + 61)
    ('04:12', '11:01:01')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def speed_text(run: RunView, speed: float) -> str:
    """Return `1380 images/s`, or `examples/s` where they are no images."""
    return f"{speed:.0f} {'images' if len(run.trained.x_shape) == 3 else 'examples'}/s"


def evaluation_line(run: RunView, record: Record, split: str, speed: float | None) -> str:
    """Return `epoch  5/20   test ELBO -150.47   (log-likelihood -144.10, KL 6.37)   1380 images/s`.

    Args:
        run: the run.
        record: of the evaluation, in nats per example.
        split: whose ELBO is printed.
        speed: training examples per second at the last log entry, if there was one.
    """
    total = f"{round(run.total_steps / run.steps_per_epoch, 2):g}"
    epoch = f"{round(record.epoch, 2):g}"
    parts = [f"epoch {epoch:>{len(total)}}/{total}", f"{split} ELBO {record.scalars[f'{split}/elbo']:.2f}"]
    names = (("log-likelihood", f"{split}/log_likelihood"), ("KL", f"{split}/kl"))
    terms = [f"{word} {record.scalars[name]:.2f}" for word, name in names if name in record.scalars]
    if terms:
        parts.append(f"({', '.join(terms)})")
    if speed is not None:
        parts.append(speed_text(run, speed))
    return "   ".join(parts)
