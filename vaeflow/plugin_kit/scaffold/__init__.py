"""Writes a plugin to start from: one small package for each kind of component. Nothing here imports TensorFlow."""

from vaeflow.plugin_kit.scaffold.write import write_plugin

__all__ = ["write_plugin"]
