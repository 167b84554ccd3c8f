"""What happens between chunks of steps: progress, logs, plots. Eager, on the chief alone."""

from vaeflow.callbacks.base import Callback, Record, RunView
from vaeflow.callbacks.group import Callbacks

__all__ = ["Callback", "Callbacks", "Record", "RunView"]
