"""The outer loop: a run is set up, restored, trained, checkpointed and summarised."""
