"""Components tried on examples of zeros before the disk is touched: in a graph, errors are long and come late."""

from vaeflow.training.sanity_check.model import try_model
from vaeflow.training.sanity_check.step_parts import NOISES, try_metrics, try_objective, try_transform

__all__ = ["NOISES", "try_metrics", "try_model", "try_objective", "try_transform"]
