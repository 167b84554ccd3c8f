"""One mistake breaks one rule; rules that say nothing of their own then are not run, and say so."""

from __future__ import annotations

import pytest
from helpers.paths import HELPERS
from helpers.rules import found_by
from helpers.tiers import few

FILES = ("broken_plugins.py", "broken_latents.py", "broken_modes.py")
ONE_RULE = {
    ("encoder", "wrong-shape"): "shapes",
    ("encoder", "not-differentiable"): "gradients",
    ("encoder", "mixes-rows"): "rows",
    ("likelihood", "float64-leak"): "shapes",
    ("posterior", "stateful-noise"): "noise",
    ("posterior", "stops-the-gradient"): "reparameterized",
}


USUAL = [("encoder", "wrong-shape"), ("posterior", "stateful-noise")]
"""The others are repetitions."""


@pytest.fixture(scope="module")
def found(request):
    """What all rules find, by component."""
    chosen = ONE_RULE if request.config.getoption("--all") else USUAL
    return found_by([(one, (), {}) for one in chosen], *(HELPERS / name for name in FILES))


@pytest.mark.slow
@pytest.mark.parametrize("component", few(ONE_RULE, *USUAL), ids=" ".join)
def test_one_mistake_breaks_one_rule(component, found):
    culprit = ONE_RULE[component]
    assert [rule for rule, outcome, _ in found[component] if outcome == "broken"] == [culprit]
    reasons = {why for _, outcome, why in found[component] if outcome == "skipped"}
    assert f"not run, because the rule '{culprit}' is broken: fix that first" in reasons


@pytest.mark.slow
@pytest.mark.repetition
def test_a_codebook_that_is_looked_up_keeps_the_contract(contract):
    found = contract(
        "posterior", "vq", plugin=str(HELPERS / "vq_plugins.py"), latent_size=8, partners={"objective": "vq"}
    )
    assert {one.rule for one in found if one.outcome != "ok"} == {"divergence"}
