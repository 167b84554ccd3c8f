"""The built-in callbacks that a config can select. TensorFlow is not imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from vaeflow.plugins.hookspecs import hookimpl
from vaeflow.plugins.records import Component

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaeflow.callbacks.base import Callback

Mode = Literal["max", "min"]
Patience = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def early_stopping(
    *, metric: str = "validation/elbo", mode: Mode = "max", patience: Patience = 5, min_delta: NotNegative = 0.0
) -> Callback:
    """Ends the run when a metric has not improved for some evaluations.

    The run then ends as at its last step: it is saved and summarised (`stopped_early` in summary.json has the reason),
    and the exit code is 0. `vaeflow resume` reports it as finished.

    Args:
        metric: name of the metric in the log; use `test/elbo` if there is no validation split.
        mode: max if higher values are better, min if lower values are better.
        patience: evaluations without an improvement after which the run ends.
        min_delta: smallest change that counts as an improvement, in the metric's units (nats for ELBOs).
    """
    from vaeflow.callbacks.on_metric import EarlyStopping, Watched

    return EarlyStopping(Watched(metric, mode, min_delta), patience)


def best_checkpoint(*, metric: str = "validation/elbo", mode: Mode = "max") -> Callback:
    """Saves a checkpoint at each evaluation that is the best so far, and keeps it for `--best`.

    Without this callback, the best of the regular checkpoints is kept, by the ELBO on the validation split, if there
    is such a split.

    Args:
        metric: name of the metric in the log.
        mode: max if higher values are better, min if lower values are better.
    """
    from vaeflow.callbacks.on_metric import BestCheckpoint, Watched

    return BestCheckpoint(Watched(metric, mode))


def reduce_on_plateau(
    *,
    metric: str = "validation/elbo",
    mode: Mode = "max",
    patience: Patience = 3,
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5,
    minimum: NotNegative = 0.0,
    min_delta: NotNegative = 0.0,
) -> Callback:
    """Multiplies the learning rate by a factor when a metric has not improved for some evaluations.

    The learning rate of the config must be a number, not a schedule.

    Args:
        metric: name of the metric in the log.
        mode: max if higher values are better, min if lower values are better.
        patience: evaluations without an improvement before each reduction.
        factor: factor by which the learning rate is multiplied.
        minimum: lower limit of the learning rate.
        min_delta: smallest change that counts as an improvement, in the metric's units (nats for ELBOs).
    """
    from vaeflow.callbacks.on_metric import ReduceOnPlateau, Watched

    return ReduceOnPlateau(Watched(metric, mode, min_delta), patience, factor, minimum)


@hookimpl
def vaeflow_components() -> Iterator[Component]:
    """Return the callbacks."""
    yield Component("callback", "early-stopping", early_stopping)
    yield Component("callback", "best-checkpoint", best_checkpoint)
    yield Component("callback", "reduce-on-plateau", reduce_on_plateau)
