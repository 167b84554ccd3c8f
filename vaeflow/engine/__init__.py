"""The engine: the step, its state, evaluation and checkpoints."""
