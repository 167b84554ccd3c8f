"""All callbacks of a run, called in their order."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaeflow.errors import PluginError, UnsavedError, VaeflowError, of_the_machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vaeflow.callbacks.base import Callback, RunView


MAY_BE_LONG = ("on_evaluation", "on_epoch", "on_end")
"""The methods that are called while the bar waits, and that may take long."""


@dataclass(frozen=True)
class Called:
    """A callback of a run and its names.

    Attributes:
        callback: the callback.
        name: of the component; checkpoints store its state under this name.
        label: name and plugin, for errors.
        always: whether every run has it; otherwise the config names it.
    """

    callback: Callback
    name: str
    label: str
    always: bool = False

    @classmethod
    def own(cls, callback: Callback) -> Called:
        """Return a callback that is always called; its name is that of its class."""
        name = type(callback).__name__
        return cls(callback, name, f"callback {name}", always=True)


class Callbacks:
    """Calls callbacks; a failed write of one of them does not stop the training.

    Args:
        callbacks: on rank 0; none on other processes.
        view: the run as callbacks see it.
    """

    def __init__(self, callbacks: Sequence[Called], view: RunView) -> None:
        self._callbacks, self._view = tuple(callbacks), view
        self._failed: dict[str, str] = {}

    def tell(self, moment: str, *arguments: Any) -> None:
        """Call a method of each callback.

        Args:
            moment: the method, for example `on_log`.
            arguments: further arguments, after the run.

        Raises:
            PluginError: if a callback fails, except for an environment error.
        """
        self._view.control.enter(moment)
        for one in self._callbacks:
            try:
                with self._named_in_the_bar(one, moment):
                    getattr(one.callback, moment)(self._view, *arguments)
            except PluginError as error:
                raise PluginError(f"{one.label}, {moment}: {error}") from error
            except VaeflowError:
                raise
            except Exception as error:
                reason = of_the_machine(error)
                if reason is None:
                    raise PluginError(f"{one.label}, {moment}: {type(error).__name__}: {error}") from error
                self._note(one.label, reason)

    def tell_of(self, error: BaseException) -> None:
        """Call `on_exception` of each callback; print what they raise, since another error ends the run."""
        for one in self._callbacks:
            try:
                one.callback.on_exception(self._view, error)
            except Exception as raised:  # noqa: BLE001  # a plugin may raise anything
                reason = " ".join(f"{type(raised).__name__}: {raised}".split())
                with contextlib.suppress(Exception):  # the terminal may be what has failed
                    self._view.say(f"warning: {one.label}, on_exception: {reason}")

    def states(self) -> list[dict[str, Any]]:
        """Return the state of each callback, with its name, in their order.

        Raises:
            PluginError: if one of them fails, or does not return a dict of JSON values.
        """
        found = []
        for one in self._callbacks:
            with _named(one, "state"):
                state = one.callback.state()
            if not isinstance(state, dict):
                raise PluginError(f"{one.label}: state returned {type(state).__name__}, not a dict")
            try:
                kept = json.loads(json.dumps(state, allow_nan=False))
            except (TypeError, ValueError) as error:
                raise PluginError(f"{one.label}: its state can't be stored as JSON: {error}") from error
            found.append({"callback": one.name, "state": kept})
        return found

    def restore(self, states: Sequence[dict[str, Any]]) -> None:
        """Restore the value of `states`; callbacks with an empty state are skipped.

        Each callback gets the first remaining state of its name, so that callbacks may be added and removed between
        parts of a run. A warning is printed for each state without a callback.

        Raises:
            PluginError: if one of them fails.
        """
        left = list(states)
        for one in self._callbacks:
            mine = next((kept for kept in left if kept["callback"] == one.name), None)
            if mine is not None:
                left.remove(mine)
                if mine["state"]:
                    with _named(one, "restore"):
                        one.callback.restore(mine["state"])
        for name in (kept["callback"] for kept in left if kept["state"]):
            self._view.say(f"warning: the checkpoint has a state of callback {name!r}, which this run does not have")

    def require_written(self) -> None:
        """Check that all files of callbacks were written.

        Raises:
            UnsavedError: if not.
        """
        for label, reason in self._failed.items():
            raise UnsavedError(f"training has ended, but {label} could not write all of its output: {reason}")

    def _named_in_the_bar(self, one: Called, moment: str) -> contextlib.AbstractContextManager[None]:
        """Show the name of a callback of the config in the bar, when no step moves it."""
        shown = moment in MAY_BE_LONG and not one.always
        return self._view.doing(f"callback {one.name}") if shown else contextlib.nullcontext()

    def _note(self, label: str, reason: str) -> None:
        if label not in self._failed:
            self._view.say(f"warning: {label} could not write ({reason}); training continues")
        self._failed[label] = reason


@contextlib.contextmanager
def _named(one: Called, method: str) -> Iterator[None]:
    """Prefix errors with the callback and its method."""
    try:
        yield
    except Exception as error:
        raise PluginError(f"{one.label}, {method}: {type(error).__name__}: {error}") from error
