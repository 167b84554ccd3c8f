"""All callbacks of a run, called in their order."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from vaeflow.errors import PluginError, UnsavedError, VaeflowError, of_the_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        """Return what each wants to be remembered, in their order.

        Raises:
            PluginError: if one of them is no JSON.
        """
        found = []
        for callback in self._callbacks:
            state = callback.state()
            try:
                found.append(json.loads(json.dumps(state, allow_nan=False)))
            except (TypeError, ValueError) as error:
                name = type(callback).__name__
                raise PluginError(f"callback {name}: its state can't be kept as JSON: {error}") from error
        return found

    def restore(self, states: Sequence[dict[str, Any]]) -> None:
        """Hand back what `states` returned; a callback that had nothing to say is not asked."""
        for callback, state in zip(self._callbacks, states, strict=False):
            if state:
                callback.restore(state)

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
