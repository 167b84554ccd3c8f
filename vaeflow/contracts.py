"""The interface of each kind of component, as typing protocols.

Shapes: B examples, L samples, D latent size, F features, X the shape of one example, P the shape of
a likelihood's parameters for one example, C classes. Log-densities are always float32 and in nats, for every
precision of the networks. This module does not import TensorFlow at run time.
"""

from vaeflow.plugins.contracts.data import Binarization, Dataset, LazyArray, Split, Transform
from vaeflow.plugins.contracts.distributions import (
    ConditionalPrior,
    ConnectedPrior,
    Distribution,
    Likelihood,
    Posterior,
    Prior,
    PriorContext,
    StartsFromExamples,
)
from vaeflow.plugins.contracts.evaluation import Features, Findings, Histogram, SplitMetric, WholeSplit
from vaeflow.plugins.contracts.model import LatentGroup, LatentVariableModel, ModelContext, Parts
from vaeflow.plugins.contracts.terms import PathGradient, Terms
from vaeflow.plugins.contracts.training import Metric, Objective, Player, Schedule, Timeline

__all__ = [
    "Binarization",
    "ConditionalPrior",
    "ConnectedPrior",
    "Dataset",
    "Distribution",
    "Features",
    "Findings",
    "Histogram",
    "LatentGroup",
    "LatentVariableModel",
    "LazyArray",
    "Likelihood",
    "Metric",
    "ModelContext",
    "Objective",
    "Parts",
    "PathGradient",
    "Player",
    "Posterior",
    "Prior",
    "PriorContext",
    "Schedule",
    "Split",
    "SplitMetric",
    "StartsFromExamples",
    "Terms",
    "Timeline",
    "Transform",
    "WholeSplit",
]
