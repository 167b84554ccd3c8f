"""Progress of a run on the terminal."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from vaeflow.callbacks.base import Callback

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vaeflow.callbacks.base import Record, RunView

SPEED = "train/examples_per_second"
SPLITS = ("test", "validation", "train")  # the most important first


UNSEEN = contextlib.suppress(OSError)
"""Ignores output errors: a run must not end because its terminal was closed."""


class ProgressBar(Callback):
    """A progress bar if standard error is a terminal, and one line per evaluation."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None
        self._elbos: dict[str, float] = {}
        self._speed: float | None = None

    def on_start(self, run: RunView) -> None:
        """Show the bar, filled up to the step that was resumed."""
        with UNSEEN:
            self._bar = tqdm(
                total=run.total_steps,
                initial=run.first_step,
                desc=run.config.name,
                unit="step",
                dynamic_ncols=True,
                disable=None,  # unless standard error is a terminal
            )

    def on_steps(self, run: RunView, step: int) -> None:  # noqa: ARG002
        """Move the bar."""
        if self._bar is not None:
            with UNSEEN:
                self._bar.update(step - self._bar.n)

    def on_log(self, run: RunView, record: Record) -> None:  # noqa: ARG002
        """Show the training ELBO."""
        self._speed = record.scalars.get(SPEED, self._speed)
        self._show(record.scalars)

    def on_evaluation(self, run: RunView, record: Record) -> None:
        """Show the ELBO of the evaluation, and print it as a line."""
        self._show(record.scalars)
        split = next((name for name in SPLITS if f"{name}/elbo" in record.scalars), None)
        if split is not None:
            run.say(evaluation_line(run, record, split, self._speed))

    def on_end(self, run: RunView) -> None:  # noqa: ARG002
        """Leave the bar as it is."""
        self._close()

    def on_exception(self, run: RunView, error: BaseException) -> None:  # noqa: ARG002
        """Leave the bar as it is, so that the error starts on a line of its own."""
        self._close()

    def _show(self, scalars: Mapping[str, float]) -> None:
        for split in SPLITS:
            self._elbos |= {split: scalars[f"{split}/elbo"]} if f"{split}/elbo" in scalars else {}
        if self._bar is not None:
            self._bar.set_postfix({name: f"{elbo:.2f}" for name, elbo in self._elbos.items()}, refresh=False)

    def _close(self) -> None:
        if self._bar is not None:
            with UNSEEN:
                self._bar.close()


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
    terms = [
        f"{word} {record.scalars[name]:.2f}"
        for word, name in (("log-likelihood", f"{split}/log_likelihood"), ("KL", f"{split}/kl"))
        if name in record.scalars
    ]
    if terms:
        parts.append(f"({', '.join(terms)})")
    if speed is not None:
        parts.append(f"{speed:.0f} {'images' if len(run.trained.x_shape) == 3 else 'examples'}/s")
    return "   ".join(parts)
