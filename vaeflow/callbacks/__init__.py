"""What happens between chunks of steps: progress, logs, plots. Eager, on the chief alone."""

from vaeflow.callbacks.base import Callback, Record, RunView

__all__ = ["Callback", "Record", "RunView"]
