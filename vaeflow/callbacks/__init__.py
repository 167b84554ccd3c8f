"""Callbacks between executions of steps: progress, logs, plots. They run eagerly, on rank 0 only."""

from vaeflow.callbacks.base import MOMENTS, Callback, Record, RunView
from vaeflow.callbacks.control import Asked, Control
from vaeflow.callbacks.doing import Doing
from vaeflow.callbacks.group import Callbacks

__all__ = ["MOMENTS", "Asked", "Callback", "Callbacks", "Control", "Doing", "Record", "RunView"]
