"""Train variational autoencoders on one device, many GPUs or many machines: the same run, bit for bit."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vaeflow.plugins.hookspecs import hookimpl
from vaeflow.plugins.records import Component
from vaeflow.plugins.selected import Selected, Takes, select
from vaeflow.version import version_of_vaeflow

if TYPE_CHECKING:
    from vaeflow.api import evaluate, load, resume, start, train
    from vaeflow.training.keras_models import Decoder, Encoder, GenerativeModel
    from vaeflow.training.loaded import Run

__all__ = [
    "Component",
    "Decoder",
    "Encoder",
    "GenerativeModel",
    "Run",
    "Selected",
    "Takes",
    "__version__",
    "evaluate",
    "hookimpl",
    "load",
    "resume",
    "select",
    "start",
    "train",
]

KERAS_MODELS = ("Decoder", "Encoder", "GenerativeModel")

__version__ = version_of_vaeflow()


def __getattr__(name: str) -> Any:
    """Import `train` and others on first use: they import TensorFlow, which takes seconds."""
    if name in KERAS_MODELS:
        return getattr(importlib.import_module("vaeflow.training.keras_models"), name)
    if name in __all__:
        return getattr(importlib.import_module("vaeflow.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, those that are not imported yet too."""
    return sorted(__all__)
