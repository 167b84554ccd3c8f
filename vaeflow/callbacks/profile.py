"""A profile of some training steps, on request of the command line."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from vaeflow.callbacks.base import Callback

if TYPE_CHECKING:
    from vaeflow.callbacks.base import RunView

FOLDER = "tensorboard"
WARM_UP = 20
"""Steps of this process before the profile: the first execution traces and compiles."""

PLUGIN, PACKAGE = "tensorboard_plugin_profile", "tensorboard-plugin-profile"


class Profile(Callback):
    """Profiles some steps with TensorFlow's profiler, for the page Profile of TensorBoard.

    The steps are executed one at a time meanwhile, each marked as a step of the profile. They compute the same bits.
    Only the process of rank 0 is profiled.

    Args:
        steps: number of steps after the warm-up of 20 steps, at least 1.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._first = 0  # the last step before the profile
        self._waiting = self._running = False
        self._trace: Any = None

    def on_start(self, run: RunView) -> None:
        """Wait for the end of the warm-up; print one line if the run is too short."""
        left, needed = run.total_steps - run.first_step, WARM_UP + self._steps
        self._first, self._waiting = run.first_step + WARM_UP, left >= needed
        if self._waiting:
            run.control.most_steps = WARM_UP
        else:
            run.say(
                f"warning: --profile {self._steps} needs {needed} steps, {WARM_UP} of them to warm up, but {left} are "
                "left: there will be no profile"
            )

    def on_steps(self, run: RunView, step: int) -> None:
        """Start after the warm-up, mark each step, and stop after the last one."""
        if self._running:
            self._end_step()
            if step >= self._first + self._steps:
                self._stop(run)
                return
        elif self._waiting and step >= self._first:
            self._start(run)
        elif self._waiting:
            run.control.most_steps = self._first - step
        if self._running:
            self._begin_step(step + 1)

    def on_end(self, run: RunView) -> None:
        """Write what was profiled if a callback ended the run meanwhile."""
        if self._running:
            self._end_step()
            self._stop(run)

    def on_exception(self, run: RunView, error: BaseException) -> None:  # noqa: ARG002
        """Write what was profiled."""
        if self._running:
            self._end_step()
            self._stop(run)

    def _start(self, run: RunView) -> None:
        import tensorflow as tf

        tf.profiler.experimental.start(str(run.directory / FOLDER))
        self._waiting, self._running = False, True
        self._first = run.step
        run.control.most_steps = 1

    def _stop(self, run: RunView) -> None:
        import tensorflow as tf

        self._running = False
        run.control.most_steps = type(run.control).most_steps
        tf.profiler.experimental.stop()
        install = "" if find_spec(PLUGIN) else f"pip install {PACKAGE}; then "
        run.say(
            f"profiled steps {self._first + 1} to {run.step}; to see them: {install}tensorboard --logdir "
            f"{run.directory}, page Profile"
        )

    def _begin_step(self, step: int) -> None:
        import tensorflow as tf

        self._trace = tf.profiler.experimental.Trace("train", step_num=step, _r=1)
        self._trace.__enter__()

    def _end_step(self) -> None:
        self._trace.__exit__(None, None, None)
