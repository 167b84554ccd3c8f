"""The options of the tests of vaeflow, for those of the packages in this folder."""

pytest_plugins = ("helpers.tiers",)
