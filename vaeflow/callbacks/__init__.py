"""What happens between chunks of steps: progress, logs, plots. Eager, on the chief alone."""

from vaeflow.callbacks.base import MOMENTS, Callback, Record, RunView
from vaeflow.callbacks.control import Asked, Control
from vaeflow.callbacks.group import Callbacks

__all__ = ["MOMENTS", "Asked", "Callback", "Callbacks", "Control", "Record", "RunView"]
