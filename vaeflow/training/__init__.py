"""Set up, restore, train, checkpoint and summarise a run."""
