"""Strategies: they run the replicas and their all-reduce."""
