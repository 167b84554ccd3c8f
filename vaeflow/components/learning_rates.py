"""Keras's learning rate schedules with their options, and the constant one.

Steps are optimizer steps. If the length of a decay is None (the default), it is that of the whole run.
`LearningRateSchedule` itself is the base class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from vaeflow.errors import UsageError

if TYPE_CHECKING:
    from keras.optimizers import schedules

    from vaeflow.contracts import Timeline

Rate = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Steps = Annotated[int, Field(ge=1)]


def constant(timeline: Timeline, *, value: Rate) -> float:  # noqa: ARG001 A constant has no use for the timeline.
    """The same learning rate at every step."""
    return value


def exponential_decay(
    timeline: Timeline,
    *,
    initial_learning_rate: Rate,
    decay_rate: Rate,
    decay_steps: Steps | None = None,
    staircase: bool = False,
) -> schedules.ExponentialDecay:
    """initial_learning_rate * decay_rate ** (step / decay_steps); with a staircase the exponent is rounded down."""
    from keras.optimizers import schedules

    return schedules.ExponentialDecay(initial_learning_rate, _whole(decay_steps, timeline), decay_rate, staircase)


def piecewise_constant_decay(
    timeline: Timeline,  # noqa: ARG001 Boundaries are given in steps.
    *,
    boundaries: tuple[Count, ...],
    values: tuple[Rate, ...],
) -> schedules.PiecewiseConstantDecay:
    """values[0] up to and including step boundaries[0], then values[1] up to boundaries[1], and so on.

    Raises:
        UsageError: if boundaries don't increase, or there is not one more value than boundaries.
    """
    from keras.optimizers import schedules

    if len(values) != len(boundaries) + 1:
        raise UsageError(
            f"learning_rate: piecewise-constant-decay needs one more value than boundaries, "
            f"not {len(values)} values and {len(boundaries)} boundaries"
        )
    if list(boundaries) != sorted(set(boundaries)):
        raise UsageError(f"learning_rate.boundaries: {list(boundaries)} must increase")
    return schedules.PiecewiseConstantDecay(list(boundaries), list(values))


def polynomial_decay(
    timeline: Timeline,
    *,
    initial_learning_rate: Rate,
    decay_steps: Steps | None = None,
    end_learning_rate: NonNegative = 0.0001,
    power: Rate = 1.0,
    cycle: bool = False,
) -> schedules.PolynomialDecay:
    """From initial_learning_rate to end_learning_rate by (1 - step / decay_steps) ** power; `cycle` restarts."""
    from keras.optimizers import schedules

    steps = _whole(decay_steps, timeline)
    return schedules.PolynomialDecay(initial_learning_rate, steps, end_learning_rate, power, cycle)


def inverse_time_decay(
    timeline: Timeline,
    *,
    initial_learning_rate: Rate,
    decay_rate: NonNegative,
    decay_steps: Steps | None = None,
    staircase: bool = False,
) -> schedules.InverseTimeDecay:
    """initial_learning_rate / (1 + decay_rate * step / decay_steps); a staircase rounds step / decay_steps down."""
    from keras.optimizers import schedules

    return schedules.InverseTimeDecay(initial_learning_rate, _whole(decay_steps, timeline), decay_rate, staircase)


def cosine_decay(
    timeline: Timeline,
    *,
    initial_learning_rate: NonNegative,
    decay_steps: Steps | None = None,
    alpha: NonNegative = 0.0,
    warmup_target: Rate | None = None,
    warmup_steps: Count = 0,
) -> schedules.CosineDecay:
    """Linear warm-up to warmup_target, if one is given, then half a cosine down to the fraction alpha of the top.

    If decay_steps is None, the decay takes the rest of the run after the warm-up.
    """
    from keras.optimizers import schedules

    steps = _whole(decay_steps, timeline, warmup_steps if warmup_target is not None else 0)
    return schedules.CosineDecay(
        initial_learning_rate, steps, alpha, warmup_target=warmup_target, warmup_steps=warmup_steps
    )


def cosine_decay_restarts(
    timeline: Timeline,
    *,
    initial_learning_rate: Rate,
    first_decay_steps: Steps | None = None,
    t_mul: Rate = 2.0,
    m_mul: NonNegative = 1.0,
    alpha: NonNegative = 0.0,
) -> schedules.CosineDecayRestarts:
    """Cosines with warm restarts (Loshchilov and Hutter 2016), each t_mul times as long and m_mul times as high."""
    from keras.optimizers import schedules

    steps = _whole(first_decay_steps, timeline)
    return schedules.CosineDecayRestarts(initial_learning_rate, steps, t_mul, m_mul, alpha)


def _whole(steps: int | None, timeline: Timeline, before: int = 0) -> int:
    """Return the steps of a decay: those given, or the rest of the run after `before` steps."""
    return steps if steps is not None else max(1, timeline.total_steps - before)
