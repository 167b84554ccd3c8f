"""What takes no part in the ELBO and breaks one rule each; `test_broken_plugins.py` has the rule."""

from __future__ import annotations

import functools
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


@functools.cache
def drawn():
    """Return numbers that are other ones in each process."""
    import numpy as np

    return np.random.default_rng().integers(0, 256, (40, 4, 4, 1), dtype=np.uint8)


def other_in_each_process(folders):
    """Examples that each process draws for itself."""
    from vaeflow.contracts import Dataset, Split

    return Dataset("drawn", Split(drawn()), None, None, "drawn here")


def ordered_by_a_set(folders):
    """Labels by the order that Python gives a set of words."""
    import numpy as np

    from vaeflow.contracts import Dataset, Split

    words = ["shirt", "trousers", "pullover", "dress", "coat", "sandal", "sneaker", "bag", "boot"]
    places = {word: place for place, word in enumerate(set(words))}
    y = np.array([places[word] for word in words])
    return Dataset("words", Split(np.full((len(y), 4, 4, 1), 7, np.uint8), y), None, None, "made here")


def late_examples_drawn_again(folders):
    """Examples of which those after the first thousand are other ones each time."""
    import numpy as np

    from vaeflow.contracts import Dataset, Split

    x = np.full((1500, 4, 4, 1), 7, np.uint8)
    x[1000:] = np.random.default_rng().integers(0, 256, (500, 4, 4, 1))
    return Dataset("late", Split(x), None, None, "drawn here")


def ignores_the_rate(learning_rate):
    """Adam at a rate of its own."""
    import keras

    return keras.optimizers.Adam(0.002)


def falls_with_each_call(timeline):
    """A rate that counts how often it was asked for."""
    import keras

    class Counting(keras.optimizers.schedules.LearningRateSchedule):
        def __init__(self):
            self.calls = 0

        def __call__(self, step):
            self.calls += 1
            return keras.ops.cast(1e-3 / self.calls, "float32")

        def get_config(self):
            return {}

    return Counting()


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
    """A new compiled function at each call."""

    def on_steps(self, run, step):
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
    """Early stopping that restarts its waiting after each resume."""

    def __init__(self):
        self.best, self.waited = -math.inf, 0

    def on_evaluation(self, run, record):
        better = record.scalars["test/elbo"] > self.best
        self.best = max(self.best, record.scalars["test/elbo"])
        self.waited = 0 if better else self.waited + 1
        if self.waited == 4:
            run.control.stop("it gets no better")


def forgets_what_it_waited_for():
    """Callback."""
    return ForgetsWhatItWaitedFor()


class ReadsEvaluationsInLogs(Callback):
    """The ELBO of the validation split, which a training log does not have."""

    def on_log(self, run, record):
        run.say(f"{record.scalars['validation/elbo']:.1f}")


class NeedsValidation(Callback):
    """The ELBO of the validation split, which not every data set has."""

    def on_evaluation(self, run, record):
        run.say(f"{record.scalars['validation/elbo']:.1f}")


class OverwritesItsLog(Callback):
    """A table that each start opens to write."""

    def on_start(self, run):
        (run.directory / "bounds.csv").write_text("step,bound\n")

    def on_evaluation(self, run, record):
        with (run.directory / "bounds.csv").open("a") as file:
            file.write(f"{record.step},{record.scalars['test/elbo']}\n")


def reads_evaluations_in_logs():
    """Callback."""
    return ReadsEvaluationsInLogs()


def needs_validation():
    """Callback."""
    return NeedsValidation()


def overwrites_its_log():
    """Callback."""
    return OverwritesItsLog()


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
    "optimizer": (ignores_the_rate,),
    "learning_rate": (falls_with_each_call,),
    "metric": (other_on_each_replica,),
    "dataset": (
        *(reads_a_pickle, labels_in_columns, bytes_of_bits, late_nan),
        *(other_in_each_process, ordered_by_a_set, late_examples_drawn_again),
    ),
    "plot": (pickles_its_figure,),
    "callback": (
        *(retraces_every_step, writes_elsewhere, misspelt_moment),
        *(raises_on_exception, forgets_what_it_waited_for),
        *(reads_evaluations_in_logs, needs_validation, overwrites_its_log),
    ),
}


@hookimpl
def vaeflow_components():
    """Return them all, by the names of their build functions."""
    for kind, builds in OF_KIND.items():
        for build in builds:
            yield Component(kind, build.__name__.replace("_", "-"), build)
