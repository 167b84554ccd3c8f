"""TensorBoard logs of a run, one module per kind. Importing this package imports TensorFlow."""

from vaeflow.callbacks.tensorboard.callback import TensorBoard

__all__ = ["TensorBoard"]
