"""Data sets, metrics, plots and callbacks that break one rule each; `test_broken_plugins.py` has the rule."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from pickle import loads

from vaeflow import Component, hookimpl
from vaeflow.callbacks import Callback


def other_on_each_replica():
    """Figures that are larger on the second replica."""
    import tensorflow as tf

    def figures(x, terms):
        context = tf.distribute.get_replica_context()
        replica = 0 if context is None else context.replica_id_in_sync_group
        return terms.kl * (1.0 + tf.cast(replica, tf.float32))

    return figures


def reads_a_pickle(folders):
    """Examples out of a pickle, by a name of its own for what reads it."""
    import numpy as np

    from vaeflow.contracts import Dataset, Split

    x = loads(pickle.dumps(np.arange(64, dtype=np.uint8).reshape((4, 4, 4, 1))))
    return Dataset("pickled", Split(x), None, None, "made here")


def labels_in_columns(folders):
    """Labels as rows of zeros and a one."""
    import numpy as np

    from vaeflow.contracts import Dataset, Split

    return Dataset("columns", Split(np.full((4, 4, 4, 1), 7, np.uint8), np.eye(4, dtype=np.int64)), None, None, "here")


def bytes_of_bits(folders):
    """Black and white as 0 and 1 in bytes."""
    import numpy as np

    from vaeflow.contracts import Dataset, Split

    return Dataset("bits", Split(np.ones((4, 4, 4, 1), np.uint8)), None, None, "here")


def late_nan(folders):
    """One number that is none."""
    import numpy as np

    from vaeflow.contracts import Dataset, Split

    x = np.zeros((4000, 5), np.float32)
    x[3000, 2] = np.nan
    return Dataset("nan", Split(x), None, None, "here")


def pickles_its_figure():
    """A plot of a copy that `copy` did not make."""

    def draw(subject):
        from io import BytesIO
        from pickle import Pickler

        from matplotlib.figure import Figure

        figure = Figure()
        figure.subplots().plot([1, 2])
        Pickler(BytesIO()).dump([1, 2])
        return figure

    return draw


class RetracesEveryStep(Callback):
    """A compiled function made anew at each call."""

    def on_chunk(self, run, step):
        import tensorflow as tf

        tf.function(lambda: tf.constant(step) + 1)()


class WritesElsewhere(Callback):
    """A file in the working directory."""

    def on_log(self, run, record):
        Path("elsewhere.log").write_text("here")


class Misspelt(Callback):
    """A moment that there is not."""

    def on_evaluate(self, run, record):
        """Never called."""


class ForgetsWhatItWaitedFor(Callback):
    """Early stopping that begins to wait anew after each resume."""

    def __init__(self):
        self.best, self.waited = -math.inf, 0

    def on_evaluation(self, run, record):
        better = record.scalars["test/bound"] > self.best
        self.best = max(self.best, record.scalars["test/bound"])
        self.waited = 0 if better else self.waited + 1
        if self.waited == 4:
            run.control.stop("it gets no better")


def forgets_what_it_waited_for():
    """Callback."""
    return ForgetsWhatItWaitedFor()


class RaisesOnException(Callback):
    """An error about an error."""

    def on_exception(self, run, error):
        raise TypeError(f"no such error: {error}")


def raises_on_exception():
    """Callback."""
    return RaisesOnException()


def retraces_every_step():
    """Callback."""
    return RetracesEveryStep()


def writes_elsewhere():
    """Callback."""
    return WritesElsewhere()


def misspelt_moment():
    """Callback."""
    return Misspelt()


OF_KIND = {
    "metric": (other_on_each_replica,),
    "dataset": (reads_a_pickle, labels_in_columns, bytes_of_bits, late_nan),
    "plot": (pickles_its_figure,),
    "callback": (
        *(retraces_every_step, writes_elsewhere, misspelt_moment),
        *(raises_on_exception, forgets_what_it_waited_for),
    ),
}


@hookimpl
def vaeflow_components():
    """Return them all, by the names of their build functions."""
    for kind, builds in OF_KIND.items():
        for build in builds:
            yield Component(kind, build.__name__.replace("_", "-"), build)
