"""Which rules each kind has, and running them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from vaeflow.checks.callbacks import CALLBACK
from vaeflow.checks.datasets import DATASET
from vaeflow.checks.latents import POSTERIOR, PRIOR
from vaeflow.checks.likelihoods import LIKELIHOOD
from vaeflow.checks.networks import DECODER, ENCODER
from vaeflow.checks.others import (
    BINARIZATION,
    LEARNING_RATE,
    METRIC,
    OBJECTIVE,
    OPTIMIZER,
    SCHEDULE,
    TRANSFORM,
)
from vaeflow.checks.outside import PLOT, STRATEGY
from vaeflow.checks.rule import Result, Rule, run
from vaeflow.checks.training import GRADIENTS, TRAINING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from vaeflow.checks.subject import Subject

RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "encoder": (*ENCODER, GRADIENTS, *TRAINING),
        "decoder": (*DECODER, GRADIENTS, *TRAINING),
        "posterior": (*POSTERIOR, GRADIENTS, *TRAINING),
        "prior": (*PRIOR, GRADIENTS, *TRAINING),
        "likelihood": (*LIKELIHOOD, GRADIENTS, *TRAINING),
        "objective": (*OBJECTIVE, GRADIENTS, *TRAINING),
        "schedule": (*SCHEDULE, *TRAINING),
        "optimizer": (*OPTIMIZER, *TRAINING),
        "learning_rate": (*LEARNING_RATE, *TRAINING),
        "transform": (*TRANSFORM, *TRAINING),
        "binarization": (*BINARIZATION, *TRAINING),
        "metric": (*METRIC, *TRAINING),
        "dataset": DATASET,
        "strategy": STRATEGY,
        "plot": PLOT,
        "callback": CALLBACK,
    }
)
"""The rules of each kind, the cheap ones first."""


def rules_of(kind: str, names: Collection[str] = ()) -> tuple[Rule, ...]:
    """Return the rules of a kind, in their order.

    Args:
        kind: of components.
        names: of the rules that are meant; all if empty.
    """
    return tuple(rule for rule in RULES[kind] if not names or rule.name in names)


def check(subject: Subject, names: Collection[str] = ()) -> Iterator[Result]:
    """Run the rules of a component's kind.

    Args:
        subject: the component.
        names: of the rules that are run; all if empty.

    Yields:
        What came out, rule by rule.
    """
    causes: dict[str, str] = {}
    for rule in rules_of(subject.kind, names):
        result = run(rule, subject)
        if result.outcome == "broken":
            first = causes.setdefault(result.message, rule.name)
            if first != rule.name:
                result = Result(rule.name, "left out", f"what breaks the rule {first!r} breaks it too")
        yield result
