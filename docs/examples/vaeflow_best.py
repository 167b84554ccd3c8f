"""A callback that says when the test ELBO was at its best."""

from vaeflow import Component, hookimpl
from vaeflow.callbacks import Callback


class Best(Callback):
    """Keeps the best value of a metric.

    Args:
        metric: its name in the log.
    """

    def __init__(self, metric: str) -> None:
        self._metric = metric
        self._best = (float("-inf"), 0.0)

    def on_evaluation(self, run, record):
        """Look at one evaluation."""
        if self._metric in record.scalars:
            self._best = max(self._best, (record.scalars[self._metric], record.epoch))

    def on_end(self, run):
        """Print the best one."""
        value, epoch = self._best
        run.say(f"best {self._metric}: {value:.2f} nats at epoch {epoch:.4g}")


def best(*, metric: str = "test/elbo"):
    """Print the best value of a metric at the end of a run.

    Args:
        metric: its name in the log.
    """
    return Best(metric)


@hookimpl
def vaeflow_components():
    yield Component("callback", "best", best)
