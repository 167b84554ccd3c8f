"""The contract of each kind of component as rules that can be run: what `vaeflow plugins check` does."""

from vaeflow.plugin_kit.checks.rule import Result, Rule

__all__ = ["Result", "Rule"]
