"""Plugins that are right and unusual: `plugins check` finds nothing wrong with them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from helpers import good_modes, good_plugins
from helpers.paths import HELPERS

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


@pytest.fixture(scope="module")
def found():
    """What all rules find, by component."""
    asked = "\n".join(json.dumps([*component, [], {}]) for component in COMPONENTS)
    command = [sys.executable, str(HELPERS / "many_checks.py"), *(module.__file__ for module in MODULES)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {component: [row[2:] for row in rows if tuple(row[:2]) == component] for component in COMPONENTS}


@pytest.mark.slow
@pytest.mark.parametrize("component", COMPONENTS, ids=" ".join)
def test_nothing_is_found(component, found):
    assert [f"{rule}: {why}" for rule, outcome, why in found[component] if outcome == "broken"] == []
    assert {rule for rule, outcome, _ in found[component] if outcome == "skipped"} == SKIPPED[component]
