"""The directory of a run: names of its files, and locking."""
