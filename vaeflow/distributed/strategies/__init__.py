"""Strategies: how the replicas of a run are run."""
