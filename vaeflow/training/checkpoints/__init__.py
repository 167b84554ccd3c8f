"""Checkpoints that are valid or not there, and restoring a run from one."""
