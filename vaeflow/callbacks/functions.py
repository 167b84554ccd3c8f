"""Callbacks given from Python: plain functions, and objects that are in no config."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from vaeflow.callbacks.base import MOMENTS, Callback, RunView
from vaeflow.callbacks.control import Control
from vaeflow.callbacks.group import Called
from vaeflow.errors import PluginError, UsageError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEFAULT = "on_evaluation"
"""The method of a function with another name."""


def observers(given: Iterable[Callback | Callable[..., Any]]) -> tuple[Called, ...]:
    """Return callbacks that see a run but can't change it: config and seed alone decide its weights.

    Args:
        given: callbacks, and functions. A function is called as the method whose name it has, with its arguments: a
            function `on_log` with (run, record), `on_epoch` with (run, epoch). Functions of other names are called
            after each evaluation with (run, record).

    Raises:
        UsageError: if one is neither, or its name begins with `on_` and is no method of a callback.
    """
    return tuple(_observer(one) for one in given)


class Observer(Callback):
    """Calls a callback, or functions by method, with a run whose `control` refuses requests."""

    def __init__(self, methods: dict[str, Callable[..., Any]]) -> None:
        for moment, method in methods.items():
            setattr(self, moment, _without_control(method))


class ReadOnlyControl(Control):
    """The control of a callback that is in no config."""

    def _require_moment(self, request: str) -> NoReturn:
        raise PluginError(
            f"run.control.{request}: a callback given from Python can't change the run, whose weights depend on config "
            "and seed alone. Give plugins=[vaeflow.Component('callback', NAME, BUILD)] and set callbacks=['NAME']"
        )


def _observer(one: Callback | Callable[..., Any]) -> Called:
    if isinstance(one, Callback):
        name = type(one).__name__
        methods = {moment: getattr(one, moment) for moment in MOMENTS}
    elif callable(one) and not isinstance(one, type):
        name = getattr(one, "__name__", type(one).__name__)
        if name.startswith("on_") and name not in MOMENTS:
            raise UsageError(f"callbacks: function {name}: {nearest(name, MOMENTS)}")
        methods = {name if name in MOMENTS else DEFAULT: one}
    else:
        raise UsageError(f"callbacks: {one!r} is neither a function nor a vaeflow.callbacks.Callback object")
    return Called(Observer(methods), f"{name} (Python)", f"callback {name}, given from Python")


def _without_control(method: Callable[..., Any]) -> Callable[..., Any]:
    def called(run: RunView, *arguments: Any) -> None:
        control = ReadOnlyControl(step=run.control.step, learning_rate=run.control.learning_rate)
        method(replace(run, control=control), *arguments)

    return called
