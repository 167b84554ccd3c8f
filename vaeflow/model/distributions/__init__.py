"""Distributions over latents and data: float32 log-densities in nats, samples as functions of noise."""

from vaeflow.model.distributions.bernoulli import Bernoulli
from vaeflow.model.distributions.categorical import Categorical
from vaeflow.model.distributions.continuous_bernoulli import ContinuousBernoulli
from vaeflow.model.distributions.laplace import Laplace
from vaeflow.model.distributions.logistic_mixture import DiscretizedLogisticMixture
from vaeflow.model.distributions.normal import DiagonalNormal, Normal, StandardNormal, diagonal_normal_kl
from vaeflow.model.distributions.normal_mixture import DiagonalNormalMixture
from vaeflow.model.distributions.poisson import Poisson
from vaeflow.model.distributions.rising import log_rising

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiagonalNormal",
    "DiagonalNormalMixture",
    "DiscretizedLogisticMixture",
    "Laplace",
    "Normal",
    "Poisson",
    "StandardNormal",
    "diagonal_normal_kl",
    "log_rising",
]
