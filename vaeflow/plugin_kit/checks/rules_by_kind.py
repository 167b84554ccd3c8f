"""The rules of each kind, and a function that runs them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from vaeflow.plugin_kit.checks.callbacks import CALLBACK
from vaeflow.plugin_kit.checks.datasets import DATASET
from vaeflow.plugin_kit.checks.latents import POSTERIOR, PRIOR
from vaeflow.plugin_kit.checks.layer_modes import MODES
from vaeflow.plugin_kit.checks.likelihoods import LIKELIHOOD
from vaeflow.plugin_kit.checks.models import MODEL
from vaeflow.plugin_kit.checks.networks import DECODER, ENCODER
from vaeflow.plugin_kit.checks.players import PLAYERS
from vaeflow.plugin_kit.checks.plots_and_strategies import PLOT, STRATEGY
from vaeflow.plugin_kit.checks.rule import Result, Rule, run
from vaeflow.plugin_kit.checks.step_parts import (
    BINARIZATION,
    LEARNING_RATE,
    METRIC,
    OBJECTIVE,
    OPTIMIZER,
    SCHEDULE,
    TRANSFORM,
)
from vaeflow.plugin_kit.checks.training import GRADIENTS, TRAINING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from vaeflow.plugin_kit.checks.subject import Subject

RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "model": (*MODEL, MODES, GRADIENTS, PLAYERS, *TRAINING),
        "encoder": (*ENCODER, MODES, GRADIENTS, *TRAINING),
        "decoder": (*DECODER, MODES, GRADIENTS, *TRAINING),
        "posterior": (*POSTERIOR, MODES, GRADIENTS, *TRAINING),
        "prior": (*PRIOR, MODES, GRADIENTS, *TRAINING),
        "likelihood": (*LIKELIHOOD, MODES, GRADIENTS, *TRAINING),
        "objective": (*OBJECTIVE, GRADIENTS, PLAYERS, *TRAINING),
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

VALUES = ("shapes", "loss", "weight", "pixels", "figures", "descent", "rate")
"""Rules of what a component returns, the first of each kind."""

NEEDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "noise": VALUES,
        "rows": (*VALUES, "noise"),
        "parameters": VALUES,
        "reparameterized": VALUES,
        "density": (*VALUES, "rows", "noise"),
        "mean": ("density",),
        "divergence": ("density",),
        "importance": (*VALUES, "noise", "rows"),
        "decode": VALUES,
        "labels": VALUES,
        "padding": VALUES,
        "modes": VALUES,
        "gradients": (*VALUES, "reparameterized"),
        "players": (*VALUES, "padding"),
        "bits": (*VALUES, "rows", "noise", "gradients"),
        "traces": (*VALUES, "gradients"),
        "xla": (*VALUES, "gradients"),
        "precision": (*VALUES, "parameters", "gradients"),
        "side-effects": VALUES,
        **dict.fromkeys(("state", "resumed", "weights"), ("life",)),
    }
)
"""The rules that each rule depends on. If one of them is broken, the rule is skipped: one mistake breaks one rule."""


def rules_of(kind: str, names: Collection[str] = ()) -> tuple[Rule, ...]:
    """Return the rules of a kind, in their order.

    Args:
        kind: of components.
        names: of rules; all if empty.
    """
    return tuple(rule for rule in RULES[kind] if not names or rule.name in names)


def check(subject: Subject, names: Collection[str] = ()) -> Iterator[Result]:
    """Run the rules of a component's kind.

    Args:
        subject: the component.
        names: of the rules to run; all if empty.

    Yields:
        The result of each rule.
    """
    causes: dict[str, str] = {}
    culprits: dict[str, str] = {}  # the broken rule, by the rule that is broken or skipped
    for rule in rules_of(subject.kind, names):
        culprit = next((culprits[needed] for needed in NEEDS.get(rule.name, ()) if needed in culprits), None)
        if culprit is not None:
            result = Result(rule.name, "skipped", f"not run, because the rule {culprit!r} is broken: fix that first")
        else:
            result = run(rule, subject)
        if result.outcome == "broken":
            culprit = causes.setdefault(result.message, rule.name)
            if culprit != rule.name:
                result = Result(
                    rule.name, "skipped", f"the error that breaks the rule {culprit!r} also breaks this one"
                )
        if culprit is not None:
            culprits[rule.name] = culprit
        yield result
