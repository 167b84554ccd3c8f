"""Distributions over latents and data: float32 log-densities in nats, samples as functions of noise."""

from vaeflow.model.distributions.bernoulli import Bernoulli
from vaeflow.model.distributions.continuous_bernoulli import ContinuousBernoulli
from vaeflow.model.distributions.normal import DiagonalNormal, Normal, StandardNormal

__all__ = ["Bernoulli", "ContinuousBernoulli", "DiagonalNormal", "Normal", "StandardNormal"]
