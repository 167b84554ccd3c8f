"""One mistake breaks one rule; rules that say nothing of their own then are not run, and say so."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from helpers.paths import HELPERS

FILES = ("broken_plugins.py", "broken_latents.py", "broken_modes.py")
ONE_RULE = {
    ("encoder", "wrong-shape"): "shapes",
    ("encoder", "not-differentiable"): "gradients",
    ("encoder", "mixes-rows"): "rows",
    ("likelihood", "float64-leak"): "shapes",
    ("posterior", "stateful-noise"): "noise",
    ("posterior", "stops-the-gradient"): "reparameterized",
}


@pytest.fixture(scope="module")
def found():
    """What all rules find, by component."""
    asked = "\n".join(json.dumps([*component, [], {}]) for component in ONE_RULE)
    command = [sys.executable, str(HELPERS / "many_checks.py"), *(str(HELPERS / name) for name in FILES)]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {component: [row[2:] for row in rows if tuple(row[:2]) == component] for component in ONE_RULE}


@pytest.mark.slow
@pytest.mark.parametrize("component", ONE_RULE, ids=" ".join)
def test_one_mistake_breaks_one_rule(component, found):
    culprit = ONE_RULE[component]
    assert [rule for rule, outcome, _ in found[component] if outcome == "broken"] == [culprit]
    reasons = {why for _, outcome, why in found[component] if outcome == "skipped"}
    assert f"not run, because the rule '{culprit}' is broken: fix that first" in reasons


@pytest.mark.slow
def test_a_codebook_that_is_looked_up_keeps_the_contract(contract):
    found = contract(
        "posterior", "vq", plugin=str(HELPERS / "vq_plugins.py"), latent_size=8, partners={"objective": "vq"}
    )
    assert {one.rule for one in found if one.outcome != "ok"} == {"divergence"}
