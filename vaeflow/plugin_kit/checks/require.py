"""Checks of values for rules, and the errors for a broken and a skipped rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


class BrokenRuleError(Exception):
    """A component breaks a rule; the message names the tensor and the numbers."""


class SkippedRuleError(Exception):
    """A rule does not apply to a component; the message gives the reason."""


def require(holds: Any, message: str) -> None:
    """Raise BrokenRuleError with a message unless a condition holds."""
    if not bool(holds):
        raise BrokenRuleError(message)


def require_tensor(value: Any, what: str, *, shape: tuple[int | None, ...], dtype: str | None = "float32") -> tf.Tensor:
    """Require a tensor of a shape and a type with finite numbers, and return it.

    Args:
        value: what a component returned.
        what: its name, for the message.
        shape: None where any size is allowed.
        dtype: None for any float but float64.
    """
    import tensorflow as tf

    require(tf.is_tensor(value), f"{what} is {type(value).__name__}, not a tensor")
    got = tuple(value.shape)
    fits = len(got) == len(shape) and all(want in (None, have) for want, have in zip(shape, got, strict=True))
    wanted = tuple("any" if side is None else side for side in shape)
    require(fits, f"{what} has shape {got}, not {wanted}")
    if dtype is None:
        require(value.dtype.is_floating and value.dtype != tf.float64, f"{what} is {value.dtype.name}")
    else:
        require(value.dtype == dtype, f"{what} is {value.dtype.name}, not {dtype}")
    bad = int(tf.reduce_sum(tf.cast(~tf.math.is_finite(tf.cast(value, tf.float32)), tf.int32)))
    require(bad == 0, f"{what} has {bad} of {tf.size(value)} values that are not finite")
    return value


def require_close(got: Any, wanted: Any, what: str, *, within: Any) -> None:
    """Require arrays to be equal up to a tolerance, and name the largest difference.

    Args:
        got: the component's values.
        wanted: the correct values.
        what: names both, for the message.
        within: the largest difference allowed, a number or an array.
    """
    import numpy as np

    got, wanted, within = (np.asarray(value, np.float64) for value in (got, wanted, within))
    with np.errstate(invalid="ignore"):  # of infinities
        apart = np.where(got == wanted, 0.0, np.abs(got - wanted))
    excess = np.where(np.isnan(apart), np.inf, apart) - within
    if excess.size and not np.all(excess <= 0):
        worst = np.unravel_index(int(np.argmax(excess)), excess.shape)
        index = f" at {tuple(map(int, worst))}" if worst else ""
        allowed = np.broadcast_to(within, excess.shape)[worst]
        expected = np.broadcast_to(wanted, excess.shape)[worst]
        given = np.broadcast_to(got, excess.shape)[worst]
        raise BrokenRuleError(f"{what}: {given:.6g} and {expected:.6g}{index}, more than {allowed:.2g} apart")
