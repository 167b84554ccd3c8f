"""The built-in callbacks that a config selects: a plugin like any other. TensorFlow is not imported here."""

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
    """Ends the run when a metric has not got better for some evaluations.

    The run then ends as at its last step: saved, summarised (`stopped_early` in summary.json says why), with exit code
    0; `vaeflow resume` finds it finished.

    Args:
        metric: its name in the log; `test/elbo` where there is no validation split.
        mode: max if more is better.
        patience: evaluations without a better value.
        min_delta: by how much a value must be better to count, in the metric's units (nats for ELBOs).
    """
    from vaeflow.callbacks.on_metric import EarlyStopping, Watched

    return EarlyStopping(Watched(metric, mode, min_delta), patience)


def best_checkpoint(*, metric: str = "validation/elbo", mode: Mode = "max") -> Callback:
    """Saves a checkpoint at each evaluation that is the best so far, and keeps it for `--best`.

    Without it, the best of those checkpoints that are due anyway is kept, by the ELBO on the
    validation split; none where there is no such split.

    Args:
        metric: its name in the log.
        mode: max if more is better.
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
    """Multiplies the learning rate by a factor when a metric has not got better for some evaluations.

    It needs a learning rate that is a number, not a schedule.

    Args:
        metric: its name in the log.
        mode: max if more is better.
        patience: evaluations without a better value before each reduction.
        factor: what the learning rate is multiplied by.
        minimum: the learning rate does not fall below it.
        min_delta: by how much a value must be better to count, in the metric's units (nats for ELBOs).
    """
    from vaeflow.callbacks.on_metric import ReduceOnPlateau, Watched

    return ReduceOnPlateau(Watched(metric, mode, min_delta), patience, factor, minimum)


@hookimpl
def vaeflow_components() -> Iterator[Component]:
    """Return the callbacks."""
    yield Component("callback", "early-stopping", early_stopping)
    yield Component("callback", "best-checkpoint", best_checkpoint)
    yield Component("callback", "reduce-on-plateau", reduce_on_plateau)
