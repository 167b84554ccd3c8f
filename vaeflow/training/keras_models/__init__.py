"""A run's model as Keras models, which are saved, loaded and exported as Keras does; imports TensorFlow."""

from vaeflow.training.keras_models.models import Decoder, Encoder, GenerativeModel

__all__ = ["Decoder", "Encoder", "GenerativeModel"]
