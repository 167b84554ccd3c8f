"""All callbacks of a run, called in their order."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from vaeflow.errors import PluginError, UnsavedError, VaeflowError, of_the_machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vaeflow.callbacks.base import Callback, RunView


class Callbacks:
    """Calls callbacks; a disk that refuses one of them does not end the training.

    Args:
        callbacks: on the chief; none on other processes.
        view: what they are told of.
    """

    def __init__(self, callbacks: Sequence[Callback], view: RunView) -> None:
        self._callbacks, self._view = tuple(callbacks), view
        self._failed: dict[str, str] = {}

    def tell(self, moment: str, *arguments: Any) -> None:
        """Call a method of each.

        Args:
            moment: the method, `on_log` say.
            arguments: those that follow the run.

        Raises:
            PluginError: if a callback fails other than by the disk.
        """
        self._view.control.enter(moment)
        for callback in self._callbacks:
            name = type(callback).__name__
            try:
                getattr(callback, moment)(self._view, *arguments)
            except PluginError as error:
                raise PluginError(f"callback {name}, {moment}: {error}") from error
            except VaeflowError:
                raise
            except Exception as error:
                reason = of_the_machine(error)
                if reason is None:
                    raise PluginError(f"callback {name}, {moment}: {type(error).__name__}: {error}") from error
                self._note(name, reason)

    def tell_of(self, error: BaseException) -> None:
        """Call `on_exception` of each; what they raise then is of no interest beside the error."""
        for callback in self._callbacks:
            with contextlib.suppress(Exception):
                callback.on_exception(self._view, error)

    def states(self) -> list[dict[str, Any]]:
        """Return what each wants to be remembered, by the name of its type and in their order.

        Raises:
            PluginError: if one of them fails, or returns no table that JSON can keep.
        """
        found = []
        for callback in self._callbacks:
            name = type(callback).__name__
            with _named(name, "state"):
                state = callback.state()
            if not isinstance(state, dict):
                raise PluginError(f"callback {name}: state returned {type(state).__name__}, not a dict")
            try:
                kept = json.loads(json.dumps(state, allow_nan=False))
            except (TypeError, ValueError) as error:
                raise PluginError(f"callback {name}: its state can't be kept as JSON: {error}") from error
            found.append({"callback": name, "state": kept})
        return found

    def restore(self, states: Sequence[dict[str, Any]]) -> None:
        """Hand back what `states` returned; a callback that had nothing to say is not asked.

        Each takes the first state of its type that is left, so that callbacks may come and go between parts of a run.

        Raises:
            PluginError: if one of them fails.
        """
        left = list(states)
        for callback in self._callbacks:
            name = type(callback).__name__
            mine = next((kept for kept in left if kept["callback"] == name), None)
            if mine is not None:
                left.remove(mine)
                if mine["state"]:
                    with _named(name, "restore"):
                        callback.restore(mine["state"])

    def require_written(self) -> str:
        """Return an empty text.

        Raises:
            UnsavedError: if the disk refused something that a callback wrote.
        """
        for name, reason in self._failed.items():
            raise UnsavedError(f"training has ended, but {name} could not write all that it should: {reason}")
        return ""

    def _note(self, name: str, reason: str) -> None:
        if name not in self._failed:
            self._view.say(f"warning: {name} could not write ({reason}); training goes on")
        self._failed[name] = reason


@contextlib.contextmanager
def _named(name: str, method: str) -> Iterator[None]:
    """Put a callback and its method in front of what it raises."""
    try:
        yield
    except Exception as error:
        raise PluginError(f"callback {name}, {method}: {type(error).__name__}: {error}") from error
