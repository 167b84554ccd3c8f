"""Write the package of a new plugin, for any kind of component. Nothing here imports TensorFlow."""

from vaeflow.plugin_kit.scaffold.write import write_plugin

__all__ = ["write_plugin"]
