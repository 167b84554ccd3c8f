"""A run's model as Keras models, which are saved, loaded and exported as Keras does.

Importing this registers them and vaeflow's layers with Keras, so that `keras.models.load_model` finds them. Keras
imports no module because a file names it: a process that loads one does so, by `from vaeflow import GenerativeModel`.
"""

from vaeflow.components import convolutions, heads, layers, learned_priors, parametric, vamp_prior
from vaeflow.model import vae
from vaeflow.model.distributions import normal
from vaeflow.training.keras_models.models import Decoder, Encoder, GenerativeModel

__all__ = ["REGISTERED", "Decoder", "Encoder", "GenerativeModel"]

REGISTERED = (convolutions, heads, layers, learned_priors, normal, parametric, vae, vamp_prior)
"""Modules whose classes Keras can then load by their names."""
