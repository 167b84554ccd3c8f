"""The options of the tests of vaeflow, for those of the packages in this folder."""

from helpers.tiers import fork_server_ends, pytest_addoption, pytest_collection_modifyitems

__all__ = ["fork_server_ends", "pytest_addoption", "pytest_collection_modifyitems"]  # pytest finds them here
