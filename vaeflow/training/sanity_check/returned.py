"""What a component computed, looked at: the right thing, or one line in the component's name."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from vaeflow.errors import PluginError, VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LONGEST = 300  # characters of another library's error
LIBRARIES = ("/tensorflow/", "/keras/", "/numpy/", "/importlib/", "/contextlib.py", "/functools.py")
COLOURS, PLACES = r"\x1b\[[0-9;]*m", r"\{\{.*?\}\}|\[Op:\w+\]|name: ?$"
LAYERS = r"Exception encountered when calling [^.]*\.call\(\)\."
INVISIBLE = re.compile(f"{COLOURS}|{PLACES}|{LAYERS}")


def computed(label: str, what: str, compute: Callable[[], Any]) -> Any:
    """Return what a component computes.

    Args:
        label: the component in words.
        what: of what it is computed, after "failed on".
        compute: the computation.

    Raises:
        VaeflowError: as the component raises it.
        PluginError: in the component's name, if it raises anything else.
    """
    try:
        return compute()
    except VaeflowError:
        raise
    except Exception as error:
        raise PluginError(f"{label} failed on {what}: {said(error)}") from error


def tensor(
    value: Any, who: str, *, wanted: str, shape: Sequence[int | None], mend: str, exact: bool = False
) -> tf.Tensor:
    """Return a tensor of floats of a shape.

    Args:
        value: what a component returned.
        who: the component, and what it returned it for: "encoder 'x' of y returned for x float32 [3, 28, 28, 1]".
        wanted: in words, with the letters of the contract.
        shape: None where any size will do.
        mend: what to do.
        exact: whether only float32 will do.

    Raises:
        PluginError: if it is something else.
    """
    if tf.is_tensor(value) and not isinstance(value, tf.IndexedSlices):
        given = tuple(value.shape)
        fits = len(given) == len(shape) and all(w in (None, g) for w, g in zip(shape, given, strict=True))
        if fits and (value.dtype == tf.float32 if exact else value.dtype.is_floating):
            return value
    raise PluginError(f"{who}: {described(value)}; wanted is {wanted}: {mend}")


def described(value: Any) -> str:
    """Return a value in words: type and shape of a tensor, and how many outputs there are of several.

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


def said(error: Exception) -> str:
    """Return an error in one line, without what TensorFlow and Keras write around it, and where it was raised."""
    text = " ".join(INVISIBLE.sub(" ", str(error).partition("\n\nArguments received by")[0]).split())
    text = f"{text[:LONGEST]}..." if len(text) > LONGEST else text
    frames = traceback.extract_tb(error.__traceback__)
    package = str(Path(__file__).parents[2])
    own = [frame for frame in frames if not any(part in frame.filename for part in (*LIBRARIES, package))]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {text}{where}"


def has(value: Any, who: str, members: Sequence[tuple[str, ...]], *, wanted: str, mend: str) -> None:
    """Require an object to have methods.

    Args:
        value: what a component returned.
        who: the component, as in `tensor`.
        members: names of each method, any of which will do.
        wanted: in words.
        mend: what to do.

    Raises:
        PluginError: if it lacks one.
    """
    lacking = [names[0] for names in members if not any(callable(getattr(value, name, None)) for name in names)]
    if lacking:
        several = isinstance(value, (list, tuple, dict)) or tf.is_tensor(value) or value is None
        lacks = "" if several else f", which has no {', '.join(lacking)}"
        raise PluginError(f"{who}: {described(value)}{lacks}; wanted is {wanted}: {mend}")
