"""A rule of a kind's contract, what came out of it, and what rules require of tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from vaeflow.errors import VaeflowError

if TYPE_CHECKING:
    from collections.abc import Callable

    import tensorflow as tf

    from vaeflow.checks.subject import Subject

Outcome = Literal["ok", "broken", "left out"]


class BrokenRuleError(Exception):
    """A component breaks a rule; the message names the tensor and the numbers."""


class LeftOutError(Exception):
    """A rule has nothing to say of a component; the message says why."""


@dataclass(frozen=True)
class Rule:
    """One rule of a contract.

    Attributes:
        name: what it is called by.
        doc: what it requires, one line.
        test: raises BrokenRuleError, or LeftOutError.
    """

    name: str
    doc: str
    test: Callable[[Subject], None]


@dataclass(frozen=True)
class Result:
    """What came out of a rule.

    Attributes:
        rule: its name.
        outcome: `ok`, `broken`, or `left out`.
        message: of a broken rule the tensor and the numbers; of one left out, why; else empty.
    """

    rule: str
    outcome: Outcome
    message: str = ""


def run(rule: Rule, subject: Subject) -> Result:
    """Run a rule. Whatever a component raises breaks the rule."""
    try:
        rule.test(subject)
    except BrokenRuleError as broken:
        return Result(rule.name, "broken", " ".join(str(broken).split()))
    except LeftOutError as why:
        return Result(rule.name, "left out", str(why))
    except VaeflowError as error:
        return Result(rule.name, "broken", str(error))
    except Exception as error:  # noqa: BLE001 A plugin's error is the finding.
        return Result(rule.name, "broken", f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Result(rule.name, "ok")


def require(holds: Any, message: str) -> None:
    """Break the rule with a message unless something holds."""
    if not bool(holds):
        raise BrokenRuleError(message)


def require_tensor(value: Any, what: str, *, shape: tuple[int | None, ...], dtype: str | None = "float32") -> tf.Tensor:
    """Require a tensor of a shape and a type with finite numbers, and return it.

    Args:
        value: what a component returned.
        what: its name, for the message.
        shape: None where any size will do.
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
    require(bad == 0, f"{what} has {bad} of {tf.size(value)} numbers that are not finite")
    return value


def require_close(got: Any, wanted: Any, what: str, *, within: Any) -> None:
    """Require arrays to be equal up to a tolerance, and name the largest difference.

    Args:
        got: what a component gave.
        wanted: what it should be.
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
