"""Importing this registers the models of runs, and vaeflow's layers, with Keras: `keras.models.load_model` finds them.

It imports TensorFlow. Keras imports no module because a file names it, so a process that loads a file does so itself.
"""

from vaeflow.components import convolutions, heads, layers, learned_priors, vamp_prior
from vaeflow.training.keras_models import Decoder, Encoder, GenerativeModel

__all__ = ["REGISTERED", "Decoder", "Encoder", "GenerativeModel"]

REGISTERED = (convolutions, heads, layers, learned_priors, vamp_prior)
"""Modules whose layers Keras can then load by their names."""
