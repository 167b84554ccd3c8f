"""Check the values that components return; errors are one line with the component's name."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from vaeflow.errors import PluginError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST = 300  # most characters of another library's error
LIBRARIES = ("/tensorflow/", "/keras/", "/numpy/", "/importlib/", "/contextlib.py", "/functools.py")
COLOURS, PLACES = r"\x1b\[[0-9;]*m", r"\{\{.*?\}\}|\[Op:\w+\]|name: ?$"
LAYERS = r"Exception encountered when calling [^.]*\.call\(\)\."
INVISIBLE = re.compile(f"{COLOURS}|{PLACES}|{LAYERS}")


def computed(label: str, what: str, compute: Callable[[], Any]) -> Any:
    """Return the result of a component's computation.

    Args:
        label: the component's name for messages.
        what: its input, for the message "failed on ...".
        compute: the computation.

    Raises:
        VaeflowError: if the component raises one.
        PluginError: with the component's name, if it raises another error.
    """
    try:
        return compute()
    except VaeflowError:
        raise
    except Exception as error:
        raise PluginError(f"{label} failed on {what}: {error_line(error)}") from error


def tensor(
    value: Any, who: str, *, wanted: str, shape: Sequence[int | None], mend: str, exact: bool = False
) -> tf.Tensor:
    """Check that a value is a tensor of floats of a given shape, and return it.

    Args:
        value: the value that a component returned.
        who: the component and its input: "encoder 'x' of y returned for x float32 [3, 28, 28, 1]".
        wanted: the expected value, with the letters of the contract.
        shape: the expected shape; None for any size.
        mend: how to fix it.
        exact: whether the type must be float32.

    Raises:
        PluginError: if the value is something else.
    """
    if tf.is_tensor(value) and not isinstance(value, tf.IndexedSlices):
        given = tuple(value.shape)
        fits = len(given) == len(shape) and all(w in (None, g) for w, g in zip(shape, given, strict=True))
        if fits and (value.dtype == tf.float32 if exact else value.dtype.is_floating):
            return value
    raise PluginError(f"{who}: {described(value)}; expected {wanted}: {mend}")


def described(value: Any) -> str:
    """Describe a value: type and shape of a tensor, or the number of outputs.

    >>> described(tf.zeros((3, 7, 7, 8)))
    'float32 [3, 7, 7, 8]'
    >>> described((tf.zeros(()), tf.zeros(())))
    '2 outputs (a tuple)'
    >>> described(None)
    'None'
    """
    if tf.is_tensor(value):
        sides = ", ".join("unknown" if side is None else str(side) for side in value.shape)
        return f"{value.dtype.name} [{sides}]"
    if isinstance(value, (list, tuple, dict)):
        return f"{len(value)} output{'s' if len(value) != 1 else ''} (a {type(value).__name__})"
    return "None" if value is None else f"an object of type {type(value).__name__}"


def error_line(error: Exception) -> str:
    """Return an error in one line, without the text that TensorFlow and Keras add, and where it was raised."""
    text = " ".join(INVISIBLE.sub(" ", str(error).partition("\n\nArguments received by")[0]).split())
    text = f"{text[:LONGEST]}..." if len(text) > LONGEST else text
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(__file__).parents[2])
    own = [frame for frame in frames if not any(part in frame.filename for part in (*LIBRARIES, package))]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {text}{where}"


def has(value: Any, who: str, members: Sequence[tuple[str, ...]], *, wanted: str, mend: str) -> None:
    """Check that an object has methods.

    Args:
        value: the value that a component returned.
        who: the component, as in `tensor`.
        members: alternative names of each method.
        wanted: the expected value.
        mend: how to fix it.

    Raises:
        PluginError: if a method is missing.
    """
    lacking = [names[0] for names in members if not any(callable(getattr(value, name, None)) for name in names)]
    if lacking:
        several = isinstance(value, (list, tuple, dict)) or tf.is_tensor(value) or value is None
        lacks = "" if several else f", which has no {', '.join(lacking)}"
        raise PluginError(f"{who}: {described(value)}{lacks}; expected {wanted}: {mend}")
