"""Plugins that are right and unusual: `plugins check` finds nothing wrong with them."""

from __future__ import annotations

import pytest
from helpers import good_modes, good_plugins
from helpers.rules import found_by
from helpers.tiers import few

MODULES = (good_plugins, good_modes)
COMPONENTS = [(one.kind, one.name) for module in MODULES for one in module.vaeflow_components()]
SKIPPED = {(kind, name): set() for kind, name in COMPONENTS} | {
    ("posterior", "laplace"): {"divergence"},
    ("posterior", "log-normal"): {"divergence"},
    ("posterior", "rank-one"): {"divergence"},
    ("prior", "mixture"): {"divergence"},
    ("prior", "pseudo-inputs"): {"divergence"},
    ("prior", "normal-by-products"): {"divergence"},
}


FIRST = {kind: (kind, name) for kind, name in reversed(COMPONENTS)}.values()
"""The first component of each kind; the others are repetitions."""
OF_VALUES = (
    *("shapes", "rows", "noise", "density", "mean", "divergence", "loss", "weight", "rate", "figures"),
    *("pixels", "life", "state", "files", "picture", "parameters", "reparameterized", "examples"),
)
"""Rules that compile no step; with --all the others run, too."""


@pytest.fixture(scope="module")
def found(request):
    """What the rules find, by component."""
    every = COMPONENTS if request.config.getoption("--all") else FIRST
    rules = () if request.config.getoption("--all") else OF_VALUES
    return found_by([(one, rules, {}) for one in every], *(module.__file__ for module in MODULES))


@pytest.mark.slow
@pytest.mark.parametrize(
    "component",
    few(COMPONENTS, *FIRST),
    ids=" ".join,
)
def test_nothing_is_found(component, found):
    assert [f"{rule}: {why}" for rule, outcome, why in found[component] if outcome == "broken"] == []
    skipped = {rule for rule, outcome, _ in found[component] if outcome == "skipped"}
    assert skipped == SKIPPED[component] & {rule for rule, *_ in found[component]}
