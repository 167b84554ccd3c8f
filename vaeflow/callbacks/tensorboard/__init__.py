"""TensorBoard's logs of a run, one kind of them a module. Importing this package imports TensorFlow."""

from vaeflow.callbacks.tensorboard.callback import TensorBoard

__all__ = ["TensorBoard"]
