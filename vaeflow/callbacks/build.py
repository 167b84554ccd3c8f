"""The callbacks of a run: the built-in ones, then those of the config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaeflow.callbacks.base import MOMENTS, Callback
from vaeflow.callbacks.group import Called
from vaeflow.callbacks.metrics_log import MetricsLog
from vaeflow.callbacks.plots import Plots
from vaeflow.callbacks.progress import Closing, ProgressBar
from vaeflow.config.hyperparameters import hyperparameters
from vaeflow.errors import PluginError, nearest

if TYPE_CHECKING:
    from vaeflow.config.resolve import Resolved
    from vaeflow.plugins.registered import Bound


def build_callbacks(resolved: Resolved) -> list[Called]:
    """Return the callbacks of rank 0, in this order: progress, logs, plots, those of the config, the bar's end.

    Raises:
        PluginError: if one can't be built, or has an unknown `on_...` method.
    """
    log, drawn = resolved.config.log, resolved.config.plots
    bar = ProgressBar()
    named = [Called(build_callback(bound), bound.name, bound.registered.label) for bound in resolved.callbacks]
    plots = Plots(every_epochs=drawn.every_epochs, formats=drawn.formats)
    if not log.tensorboard:
        own = [bar, MetricsLog(), plots]
    else:
        from vaeflow.callbacks.tensorboard import TensorBoard

        board = TensorBoard(
            histograms=log.histograms,
            images=log.images,
            projector=log.projector,
            graph=log.graph,
            config=resolved.to_toml(),
            hparams=hyperparameters(resolved),
        )
        plots.then = board.show_plots
        own = [bar, MetricsLog(), plots, board]  # plots before TensorBoard, which closes its logs at the end
    return [*map(Called.own, own), *named, Called.own(Closing(bar))]


def build_callback(bound: Bound) -> Callback:
    """Return a callback.

    Args:
        bound: the component.

    Raises:
        PluginError: if it can't be built, or has an unknown `on_...` method.
    """
    callback = bound.build()
    if not isinstance(callback, Callback):
        kind = type(callback).__name__
        raise PluginError(f"{bound.registered.label} built {kind}, not a vaeflow.callbacks.Callback")
    for name in dir(callback):
        if name.startswith("on_") and name not in MOMENTS:
            raise PluginError(f"{bound.registered.label} has an unknown method {name}; {nearest(name, MOMENTS)}")
    return callback
