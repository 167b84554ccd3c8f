"""Priors that need their model are checked with a small one: with its posteriors, and with labels."""

from __future__ import annotations

import pytest

from vaeflow.components.learned_priors import NormalPrior
from vaeflow.model.distributions import DiagonalNormal
from vaeflow.plugin_kit.checks.latents import divergence, prior_density, prior_mean, prior_shapes
from vaeflow.plugin_kit.checks.require import BrokenRuleError
from vaeflow.plugin_kit.checks.subject import Subject
from vaeflow.plugins.registry import Registry


def subject(name, **options):
    return Subject(Registry.load(), "prior", name, options)


def test_labels_are_given_to_a_prior_that_needs_them():
    needs = subject("diagonal-gaussian", per_class=True)
    assert needs.needs_labels
    assert needs.resolved().config.condition.labels
    for rule in (prior_shapes, prior_density, prior_mean, divergence):
        rule(needs)
    for name in ("diagonal-gaussian", "vamp"):
        assert not subject(name).needs_labels
        assert not subject(name).resolved().config.condition.labels


def test_a_wrong_density_given_a_label_is_found(monkeypatch):
    monkeypatch.setattr(NormalPrior, "log_prob", lambda self, z: DiagonalNormal.log_prob(self, z) + 0.5)
    with pytest.raises(BrokenRuleError):
        prior_density(subject("diagonal-gaussian", per_class=True))


def test_vamp_is_checked_with_posteriors():
    for rule in (prior_shapes, prior_density, prior_mean):
        rule(subject("vamp", components=4, spread=3.0))
